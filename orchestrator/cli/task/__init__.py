"""``orchestrator task``: tasks through the service, or without it with ``--direct``."""
