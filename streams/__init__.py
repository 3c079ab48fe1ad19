"""AI Orchestrator, Kafka and Faust: application, reading, publishing, ownership.

Imports schemas and tasks.
"""
