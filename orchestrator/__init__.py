"""AI Orchestrator, the programs: command line, embedded servers, demonstration services."""
