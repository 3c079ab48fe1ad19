"""UUIDs that begin with their time, so that ids sort by age and contain their time of creation.

:func:`tasks.identity.born_at` reads the time back.

Source: RFC 9562, section 5.7 (Python has them from 3.14 on).
"""

from uuid import UUID

from schemas.records import Millis, TaskId


def uuid7(time: Millis, entropy: bytes) -> UUID:
    """A UUID with a given time.

    Args:
        time: Unix milliseconds, 0 .. 2**48 - 1.
        entropy: 10 random bytes; 74 of their bits are used.
    """
    value = time << 80 | int.from_bytes(entropy)
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    return UUID(int=value)


def new_task_id(time: Millis, entropy: bytes) -> TaskId:
    """The usual id of a new task: ``task_`` and a :func:`uuid7`."""
    return TaskId(f"task_{uuid7(time, entropy)}")
