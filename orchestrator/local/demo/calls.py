"""The calls that the reference services got, for tests that count calls."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from schemas.gen.services.v1 import step_service_pb2 as pb


@dataclass(slots=True, kw_only=True)
class Call:
    """One call of a service, as the service saw it."""

    number: int
    """From 1 within this process."""
    service: str
    method: str
    task_id: str
    run: int
    step: str
    attempt: int
    tenant_id: str
    idempotency_key: str
    traceparent: str
    began_s: float
    """Monotonic clock of this machine: comparable between its processes."""
    ended_s: float | None = None
    status: str | None = None
    """The gRPC status that was answered; None while it runs or if it was aborted."""
    aborted: bool = False
    """True: before the answer, the caller cancelled or disconnected, its deadline passed, or
    this server stopped."""


class CallLog:
    """All calls since the start, in memory and optionally in a file for other processes.

    The file gets two JSON lines for each call, ``{"event": "began", ...}`` and
    ``{"event": "ended", ...}``, each with all fields of :class:`Call`, flushed at once.
    Several processes may append to one file. Belongs to one event loop.

    Args:
        path: the file to append to; None for no file.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.calls: list[Call] = []
        self._changed = asyncio.Event()
        # Unbuffered and in append mode: a line is one write, even with several processes.
        self._file = path.open("ab", buffering=0) if path is not None else None

    def began(self, service: str, request: pb.RunRequest, metadata: dict[str, str]) -> Call:
        """Note a call that has arrived."""
        call = Call(
            number=len(self.calls) + 1,
            service=service,
            method=request.method,
            task_id=request.task_id,
            run=request.run,
            step=request.step,
            attempt=request.attempt,
            tenant_id=request.tenant_id,
            idempotency_key=metadata.get("idempotency-key", ""),
            traceparent=metadata.get("traceparent", ""),
            began_s=time.monotonic(),
        )
        self.calls.append(call)
        self._note("began", call)
        return call

    def ended(self, call: Call, *, status: str | None, aborted: bool = False) -> None:
        """Note how a call ended."""
        call.ended_s = time.monotonic()
        call.status = status
        call.aborted = aborted
        self._note("ended", call)

    def of_task(self, task_id: str) -> list[Call]:
        """The calls for one task, oldest first."""
        return [call for call in self.calls if call.task_id == task_id]

    async def wait_until(
        self, condition: Callable[[list[Call]], bool], *, timeout_s: float = 10.0
    ) -> None:
        """Wait until ``condition(calls)`` is true; it is evaluated again after each change.

        Raises:
            TimeoutError: it did not become true in time.
        """
        async with asyncio.timeout(timeout_s):
            while not condition(self.calls):
                self._changed.clear()
                await self._changed.wait()

    def close(self) -> None:
        """Close the file. Idempotent; later calls are noted in memory only."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _note(self, event: str, call: Call) -> None:
        self._changed.set()
        if self._file is not None:
            line = {"event": event, **msgspec.to_builtins(call)}
            self._file.write(msgspec.json.encode(line) + b"\n")
