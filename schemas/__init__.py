"""AI Orchestrator, what is on the wire: records, topics, codec, headers, errors.

Imports nothing of ours.
"""
