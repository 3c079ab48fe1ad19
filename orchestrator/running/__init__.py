"""How a second terminal finds the system that ``orchestrator dev`` runs on this machine."""
