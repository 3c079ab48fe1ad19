"""AI Orchestrator, the Faust agents: router, step worker, sink.

Thin shells around the layers below.
"""
