"""AI Orchestrator, Postgres: the projection's writer, reader and migrations.

Imports schemas and tasks.
"""
