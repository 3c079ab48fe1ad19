"""A replica as an instance in a registry, so that callers find it."""
