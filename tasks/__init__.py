"""AI Orchestrator, the rules: task state, decide, apply, pipelines, retry policy.

Pure; imports schemas.
"""
