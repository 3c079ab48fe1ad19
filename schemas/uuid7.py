"""UUIDs that begin with their time, so that ids sort by age and tell when they were made.

Source: RFC 9562, section 5.7 (Python has them from 3.14 on).
"""

from uuid import UUID

from schemas.records import Millis, TaskId

_TASK_PREFIX = "task_"


def uuid7(time: Millis, entropy: bytes) -> UUID:
    """A UUID of a time.

    Args:
        time: 0 .. 2**48 - 1.
        entropy: 10 random bytes; 74 of their bits are used.
    """
    value = time << 80 | int.from_bytes(entropy)
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    return UUID(int=value)


def new_task_id(time: Millis, entropy: bytes) -> TaskId:
    """The usual id of a new task, as :func:`uuid7` makes it."""
    return TaskId(f"{_TASK_PREFIX}{uuid7(time, entropy)}")


def time_of(task_id: TaskId) -> Millis | None:
    """When an id was made, by the clock of who made it; None if it does not tell."""
    text = task_id.removeprefix(_TASK_PREFIX)
    try:
        value = UUID(text)
    except ValueError:
        return None
    return Millis(value.int >> 80) if value.version == 7 and str(value) == text else None
