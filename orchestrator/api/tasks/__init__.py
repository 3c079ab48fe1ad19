"""The use cases of tasks: create, read, command, watch."""
