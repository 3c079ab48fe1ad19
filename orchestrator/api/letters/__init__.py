"""The use cases of dead letters."""
