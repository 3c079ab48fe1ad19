"""A task's events as its log has them, by the acceptance rule."""
