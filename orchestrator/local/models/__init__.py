"""Small real models on this machine, for `orchestrator dev --models`."""
