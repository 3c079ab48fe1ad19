"""Clients of the downstream AI services."""
