"""What a step worker does with a command: the call, its floods, cancels and answers."""
