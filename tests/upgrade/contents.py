"""What is in the fixture: the same for who makes it and for who loads it."""

PREFIX = "upgrade."
LIVE = {
    "held": "held",
    "held-moved": "held",
    "queued": "queued",
    "moved": "queued",
    "late": "queued",
    "running": "step_running",
    "waiting": "retry_scheduled",
    "second-run": "step_running",
}
"""The tasks that have not ended, by their phase."""
ENDED = {"done-1": "completed", "done-2": "completed", "refused": "failed", "stopped": "cancelled"}
FORGOTTEN = "forgotten"
