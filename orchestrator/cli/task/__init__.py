"""``orchestrator task``: tasks through the service, or past it with ``--direct``."""
