"""Tells a cancellation of the current task from one that leaks out of a call it awaits."""

import asyncio


def this_task_is_cancelled() -> bool:
    """True if the current asyncio task was cancelled, and not only the call that it awaits."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
