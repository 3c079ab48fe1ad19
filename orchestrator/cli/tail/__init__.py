"""``orchestrator tail``: the records of a topic as they come."""
