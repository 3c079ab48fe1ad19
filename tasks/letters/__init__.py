"""Dead letters: what was done with them, which are meant, and what a replay does. Pure."""
