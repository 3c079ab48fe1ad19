"""What runs on one machine only: ``orchestrator dev``, embedded servers, reference services."""
