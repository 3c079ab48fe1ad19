"""What readers ask of the projection: tasks, attempts, lists, usage."""
