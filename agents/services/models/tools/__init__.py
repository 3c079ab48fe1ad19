"""Tools that a model may call: other services, in a bounded loop."""
