"""Reads of the projection: tasks, attempts, lists, usage."""
