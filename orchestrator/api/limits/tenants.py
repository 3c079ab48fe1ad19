"""What one tenant may have at the same time, checked before anything is published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

from orchestrator.api.errors import ApiError, Kind
from orchestrator.api.limits.metrics import LIMITED, STREAMS
from orchestrator.api.limits.settings import ApiLimitsSettings, parse_tenants
from orchestrator.api.limits.slots import TenantSlots
from schemas.records import TaskCreated

_RETRY_AFTER_S = 5.0
"""Tasks end and streams close by themselves; sooner makes no difference."""
_WAIT_S = 10.0
_MOMENT_S = 2.0
"""A longer wait counts as a stream. Calls that only create or command wait no longer."""
_READS_WAITING = 20
_LETTER_CALLS_WAITING = 4
_EXPLANATIONS_WAITING = 4
_EXPLANATIONS_MAX = 8
"""Explanations of all tenants at the same time: each opens connections to Kafka."""


class TenantLoad(Protocol):
    """What a tenant has in memory."""

    def live_tasks(self, tenant_id: str) -> int:
        """Its tasks that have not ended."""
        ...

    def held_bytes(self, tenant_id: str) -> int:
        """Bytes of input and metadata of its held tasks."""
        ...


class TenantLimits:
    """The limits of all tenants, and the streams that are open."""

    def __init__(self, settings: ApiLimitsSettings, load: TenantLoad) -> None:
        self._settings = settings
        self._own = parse_tenants(settings.tenants)
        self._load = load
        self._streams: Counter[str] = Counter()
        self.reads = TenantSlots(
            "tenant_reads_max",
            lambda tenant: self._of(tenant, "reads"),
            waiting=_READS_WAITING,
            wait_s=_WAIT_S,
        )
        """Reading pages from Postgres."""
        self.explanations = TenantSlots(
            "tenant_reads_max",
            lambda tenant: self._of(tenant, "reads"),
            waiting=_EXPLANATIONS_WAITING,
            wait_s=_WAIT_S,
            together=_EXPLANATIONS_MAX,
        )
        """Explaining tasks: slow while Kafka is away, which must not keep reads waiting."""
        self.letter_calls = self._letter_slots()
        """Calls about single dead letters."""
        self.replays = self._letter_slots()
        """Replays: they take long, and must not keep calls that only read waiting."""

    def _letter_slots(self) -> TenantSlots:
        return TenantSlots(
            "tenant_letter_calls_max",
            lambda tenant: self._of(tenant, "letter_calls"),
            waiting=_LETTER_CALLS_WAITING,
            wait_s=_WAIT_S,
            together=self._settings.letter_calls_max,
        )

    def check_priority(self, tenant_id: str, priority: int | None) -> None:
        """Check a priority that a tenant asks for.

        Raises:
            ApiError: PRIORITY_DENIED.
        """
        most = self._of(tenant_id, "priority")
        if priority is not None and priority > most:
            LIMITED.labels("tenant_priority_max").inc()
            message = f"priority: this tenant may ask for {most} at most"
            raise ApiError("PRIORITY_DENIED", message, kind=Kind.DENIED, field="priority")

    def check_creates(self, tenant_id: str, tasks: Sequence[TaskCreated]) -> None:
        """Check that these tasks may be created; all or none of them.

        The load is that of the logs as they were read, so calls at the same moment may exceed a
        limit together.

        Raises:
            ApiError: TASKS_LIMITED, HELD_LIMITED; nothing was created.
        """
        most = self._of(tenant_id, "live_tasks")
        if tasks and self._load.live_tasks(tenant_id) + len(tasks) > most:
            raise _limited("TASKS_LIMITED", "tenant_live_tasks_max", f"{most} live tasks")
        held = sum(len(t.input) + len(t.metadata) for t in tasks if t.hold)
        most = self._of(tenant_id, "held_bytes")
        if held and self._load.held_bytes(tenant_id) + held > most:
            raise _limited("HELD_LIMITED", "tenant_held_bytes_max", f"{most} bytes of held tasks")

    def check_streams(self, tenant_id: str) -> None:
        """Check that a tenant may open one more stream.

        Raises:
            ApiError: STREAMS_LIMITED.
        """
        most = self._of(tenant_id, "streams")
        if self._streams[tenant_id] >= most:
            raise _limited(
                "STREAMS_LIMITED", "tenant_streams_max", f"{most} open streams and long waits"
            )

    @contextmanager
    def stream(self, tenant_id: str) -> Iterator[None]:
        """Count a stream while the block runs; raises as :meth:`check_streams`."""
        self.check_streams(tenant_id)
        self._streams[tenant_id] += 1
        STREAMS.inc()
        try:
            yield
        finally:
            STREAMS.dec()
            self._streams[tenant_id] -= 1
            if not self._streams[tenant_id]:
                del self._streams[tenant_id]

    def wait(self, tenant_id: str, timeout_s: float) -> AbstractContextManager[None]:
        """Count a wait as a stream while the block runs, if it may last longer than a moment.

        It occupies a connection or a call of gRPC as a stream does. Raises as
        :meth:`check_streams`.
        """
        return self.stream(tenant_id) if timeout_s > _MOMENT_S else nullcontext()

    def check_wait(self, tenant_id: str, timeout_s: float) -> None:
        """Check that a wait could begin; raises as :meth:`check_streams`."""
        if timeout_s > _MOMENT_S:
            self.check_streams(tenant_id)

    def _of(self, tenant_id: str, limit: str) -> int:
        own = self._own.get(tenant_id, {}).get(limit)
        usual: int = getattr(self._settings, _USUAL[limit])
        return usual if own is None else own


_USUAL = {
    "live_tasks": "tenant_live_tasks_max",
    "held_bytes": "tenant_held_bytes_max",
    "priority": "tenant_priority_max",
    "streams": "tenant_streams_max",
    "reads": "tenant_reads_max",
    "letter_calls": "tenant_letter_calls_max",
}


def _limited(code: str, limit: str, what: str) -> ApiError:
    LIMITED.labels(limit).inc()
    message = f"this tenant may have {what} at most"
    return ApiError(code, message, kind=Kind.LIMITED, retry_after_s=_RETRY_AFTER_S)
