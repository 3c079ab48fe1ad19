"""How a step worker processes a command: the call, floods, cancels and answers."""
