"""Steps as decorated functions, and the servers that offer them to the orchestrator."""
