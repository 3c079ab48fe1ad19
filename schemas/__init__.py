"""AI Orchestrator, the wire format: records, topics, codec, headers, errors.

Imports no other package of this project.
"""
