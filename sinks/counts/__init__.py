"""The business metrics: counted in the sink's transaction, so that each event counts once."""
