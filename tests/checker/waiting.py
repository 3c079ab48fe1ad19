"""Which attempt a task waits for, told from its events."""

from tests.checker.wire import Value

ENDS = ("completed", "failed", "cancelled")


def waiting_after(before: str | None, event: Value) -> str | None:
    """The command id of the attempt that counts after an event; None if there is none."""
    if event["kind"] == "command_refused":
        return before
    if event["kind"] in ENDS:
        return None
    if event["dispatched"]:
        return str(event["dispatched"][0]["command_id"])
    if event["kind"] == "step_retry_scheduled":
        step = event["step"]
        return f"{event['task_id']}/{event['run']}/{step['name']}/{step['attempt'] + 1}"
    return before
