"""What the log lines of the work on one record have in common: its task, step and attempt."""

from __future__ import annotations

from contextvars import ContextVar, Token

from streams.traceparent import Carried, ids_of
from streams.tracing import current_ids

_CURRENT: ContextVar[working_on | None] = ContextVar("working_on", default=None)


class working_on:  # noqa: N801  # reads as a statement: with working_on(task_id)
    """Every line that is logged in the block, and in asyncio tasks that begin in it, names these.

    Cheap: nothing is formatted before a line is logged.

    Args:
        task_id: as in the record.
        step: the step, if the record is of one.
        attempt: its attempt, from 1.
        carried: the trace headers of the work, if it has no current span.
    """

    __slots__ = ("_attempt", "_carried", "_step", "_task_id", "_token")

    def __init__(
        self,
        task_id: str,
        step: str | None = None,
        attempt: int | None = None,
        *,
        carried: Carried | None = None,
    ) -> None:
        self._task_id = task_id
        self._step = step
        self._attempt = attempt
        self._carried = carried
        self._token: Token[working_on | None] | None = None

    def __enter__(self) -> None:
        self._token = _CURRENT.set(self)

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _CURRENT.reset(self._token)

    def fields(self) -> dict[str, object]:
        """The fields for a log line."""
        found: dict[str, object] = {"task_id": self._task_id}
        if self._step is not None:
            found["step"] = self._step
        if self._attempt is not None:
            found["attempt"] = self._attempt
        return found

    def ids(self) -> tuple[str, str] | None:
        """The ids of the trace and the span of this work; None if it has no trace headers."""
        return ids_of(self._carried or {})


def log_fields() -> dict[str, object]:
    """The fields of a line that is logged now: of the record in work, and of the current span."""
    work = _CURRENT.get()
    fields = {} if work is None else work.fields()
    ids = (work.ids() if work is not None else None) or current_ids()
    if ids is not None:
        fields["trace_id"], fields["span_id"] = ids
    return fields
