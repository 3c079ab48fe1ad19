"""Which endpoint of a service gets a call."""
