"""Switches that make a reference service misbehave, for tests and demonstrations.

They are set from outside of the requests, in process or by ``ORCH_DEMO_FAULTS``, so that the
records in the system are the same as without them.
"""

from typing import Literal

import msgspec
from msgspec import Struct

from schemas.gen.services.v1 import step_service_pb2 as pb

StatusName = Literal[
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
]


class Fault(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which calls misbehave, and how. A field that is not given matches every call.

    A matched call waits ``delay_s`` first; then it hangs, or fails with ``status``, or
    answers ``output``, or else runs as if there were no fault.
    """

    service: str | None = None
    """``retrieval``, ``rag_engine``, ``agent_engine``, ``voice_engine``, ``multimodal_engine``."""
    method: str | None = None
    task_contains: str | None = None
    """A part of the task id, to select one task."""
    tenant: str | None = None
    times: int | None = None
    """The number of calls until the fault is over; None: unlimited."""

    delay_s: float = 0.0
    hang: bool = False
    """Never answer. The call ends when the caller gives up or the server stops."""
    status: StatusName | None = None
    error_code: str | None = None
    """Trailing ``error-code`` of the failure."""
    retry_after_ms: int | None = None
    """Trailing ``retry-after-ms`` of the failure."""
    output: str | None = None
    """Sent unchanged in place of an answer, even if it is not JSON."""

    def __post_init__(self) -> None:
        if self.delay_s < 0:
            raise ValueError(f"delay_s is {self.delay_s}; it must be at least 0")
        if self.times is not None and self.times < 1:
            raise ValueError(f"times is {self.times}; it must be at least 1")

    def matches(self, service: str, request: pb.RunRequest) -> bool:
        """True if the fault matches this call; ``times`` is not checked."""
        return (
            self.service in (None, service)
            and self.method in (None, request.method)
            and self.tenant in (None, request.tenant_id)
            and (self.task_contains is None or self.task_contains in request.task_id)
        )


class Faults:
    """The faults of one process, in the order in which they were added; the first match wins."""

    def __init__(self, faults: list[Fault] | None = None) -> None:
        self._faults = faults or []
        self._left: list[int | None] = [fault.times for fault in self._faults]

    @classmethod
    def parse(cls, text: str) -> "Faults":
        """Read ``ORCH_DEMO_FAULTS``: a JSON array of faults; an empty text has no faults.

        Raises:
            ValueError: not JSON, an unknown field, or a wrong value.
        """
        if not text.strip():
            return cls()
        try:
            return cls(msgspec.json.decode(text, type=list[Fault]))
        except msgspec.DecodeError as error:
            raise ValueError(f"faults: {error}") from error

    def add(self, fault: Fault) -> None:
        """Apply a fault to calls from now on."""
        self._faults.append(fault)
        self._left.append(fault.times)

    def clear(self) -> None:
        """End all faults for new calls; calls that hang keep hanging."""
        self._faults.clear()
        self._left.clear()

    def take(self, service: str, request: pb.RunRequest) -> Fault | None:
        """The fault for this call, which counts as one of its ``times``."""
        for place, fault in enumerate(self._faults):
            left = self._left[place]
            if left == 0 or not fault.matches(service, request):
                continue
            if left is not None:
                self._left[place] = left - 1
            return fault
        return None
