"""A task's events as its log holds them, by the acceptance rule."""
