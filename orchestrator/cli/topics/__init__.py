"""``orchestrator topics``: what the topics are, should be, and how they become so."""
