"""``orchestrator topics``: shows, creates and repairs topics."""
