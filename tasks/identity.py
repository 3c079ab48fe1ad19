"""Task ids, and the record key that belongs to them."""

from uuid import UUID, uuid5

from schemas.errors import InvalidRecordError
from schemas.records import Millis, TaskId

TASK_NAMESPACE = UUID("4b913518-d5d6-4902-9edd-c946b3b7656c")
"""Public and permanent: the UUIDv5 namespace of ids that come from an idempotency key."""


def task_id_for(tenant_id: str, idempotency_key: str) -> TaskId:
    """The id of a tenant's task with an idempotency key, the same on every machine.

    ``task_`` and the UUIDv5 of ``tenant NUL key`` in :data:`TASK_NAMESPACE`. Neither part may
    hold a lone surrogate (``UnicodeEncodeError``); a NUL in either would make pairs ambiguous,
    so admission refuses both.
    """
    name = f"{tenant_id}\0{idempotency_key}"
    return TaskId(f"task_{uuid5(TASK_NAMESPACE, name)}")


def check_owner_of_id(task_id: TaskId, tenant_id: str, idempotency_key: str | None) -> None:
    """Check that an id which belongs to an idempotency key comes with this key and its tenant.

    Everybody can compute such an id. Without this check another tenant could take it before the
    tenant of the key does.

    Raises:
        InvalidRecordError: ``ID_KEY_MISMATCH``, ``ID_KEY_MISSING``; create the task with its key,
            or with an id of another kind.
    """
    if idempotency_key is not None:
        expected = task_id_for(tenant_id, idempotency_key)
        if task_id != expected:
            raise InvalidRecordError("ID_KEY_MISMATCH", f"this key's task_id is {expected}")
    elif _belongs_to_a_key(task_id):
        message = "task_id is of the kind that belongs to an idempotency key, and there is none"
        raise InvalidRecordError("ID_KEY_MISSING", message)


def _belongs_to_a_key(task_id: TaskId) -> bool:
    """True for ``task_`` and a UUIDv5 as :func:`task_id_for` writes it."""
    try:
        uuid = UUID(task_id.removeprefix("task_"))
    except ValueError:
        return False
    return uuid.version == 5 and task_id == f"task_{uuid}"


def born_at(task_id: TaskId) -> Millis | None:
    """The time in an id that is ``task_`` and a UUIDv7; None for any other id.

    Source: RFC 9562, section 5.7: the first 48 bits are Unix milliseconds.
    """
    try:
        uuid = UUID(task_id.removeprefix("task_"))
    except ValueError:
        return None
    named = task_id.startswith("task_") and uuid.version == 7
    return Millis(uuid.int >> 80) if named else None


def check_key(key: bytes | None, task_id: TaskId) -> None:
    """Check that a record has its task's id as its key, which decides its partition.

    Raises:
        InvalidRecordError: ``KEY_MISMATCH``; the writer of the record has to fix it.
    """
    if key != task_id.encode("utf-8", "surrogatepass"):
        raise InvalidRecordError("KEY_MISMATCH", "the record's key is not its task_id")
