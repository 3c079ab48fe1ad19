"""``orchestrator dlq``: dead letters."""
