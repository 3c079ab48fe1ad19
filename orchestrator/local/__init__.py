"""The parts that run on one machine only: ``orchestrator dev``, embedded and reference services."""
