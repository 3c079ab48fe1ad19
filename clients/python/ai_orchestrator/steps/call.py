"""What a step knows of the call that it answers, and what it reports of its work."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from ai_orchestrator.steps.failure import Cancelled

_COUNT_MAX = 10**15


class UsageReport(msgspec.Struct, kw_only=True):
    """What a call or a substep consumed."""

    model: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost_micros: int = 0
    """Micro-USD: 1,000,000 is one US dollar."""
    estimated: bool = False
    """True if the numbers are not the provider's own."""

    def add(
        self,
        *,
        model: str | None = None,
        input_tokens: int = 0,
        output_tokens: int = 0,
        cost_micros: int = 0,
        estimated: bool = False,
    ) -> None:
        """Add what was consumed.

        Raises:
            ValueError: a count is negative, above 10**15 or not an integer; nothing was added.
        """
        new = {"input_tokens": input_tokens, "output_tokens": output_tokens}
        new["cost_micros"] = cost_micros
        sums = {name: _count(getattr(self, name) + _count(value)) for name, value in new.items()}
        for name, value in sums.items():
            setattr(self, name, value)
        self.model = model or self.model
        self.estimated = self.estimated or estimated


class SubstepError(msgspec.Struct, kw_only=True):
    """Why a substep failed."""

    code: str
    message: str = ""
    category: str = "internal"
    retriable: bool = False


class Substep(msgspec.Struct, kw_only=True):
    """One thing that a step did on the way, such as the call of a tool."""

    name: str
    started_at: int
    """Unix time in milliseconds, UTC; as ``completed_at``."""
    input: Any = msgspec.field(default_factory=dict)
    output: Any = msgspec.field(default_factory=dict)
    status: str = "completed"
    completed_at: int | None = None
    error: SubstepError | None = None
    usage: UsageReport | None = None


class Call:
    """One call of a step. Its methods may be used from any thread.

    Attributes:
        method: what the pipeline asks for: the name of the step's function.
        task_id: with ``run``, ``step`` and ``attempt``, which attempt this is.
        run: the run of the task, from 1.
        step: the name of the step in the pipeline.
        attempt: the try of the step within a run, from 1.
        tenant_id: whose task it is.
        conversation_id: the conversation of the task, or None.
        idempotency_key: the same for every call of one attempt, which may come twice: a step
            with effects stores the key with its result and answers a known key from there.
        traceparent: W3C Trace Context, or None.
    """

    def __init__(
        self,
        *,
        method: str,
        task_id: str = "",
        run: int = 1,
        step: str = "",
        attempt: int = 1,
        tenant_id: str = "",
        conversation_id: str | None = None,
        idempotency_key: str = "",
        traceparent: str | None = None,
        timeout_s: float | None = None,
    ) -> None:
        self.method = method
        self.task_id = task_id
        self.run = run
        self.step = step
        self.attempt = attempt
        self.tenant_id = tenant_id
        self.conversation_id = conversation_id
        self.idempotency_key = idempotency_key
        self.traceparent = traceparent
        self._deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        self._gone = threading.Event()
        self._lock = threading.Lock()
        self._usage: UsageReport | None = None
        self._substeps: list[Substep] = []

    @property
    def remaining_s(self) -> float | None:
        """Seconds until the answer is useless, at least 0; None if the caller did not say."""
        return None if self._deadline_s is None else max(0.0, self._deadline_s - time.monotonic())

    @property
    def cancelled(self) -> bool:
        """Whether the caller gave up or the time is over: a long plain function looks at it."""
        return self._gone.is_set() or self.remaining_s == 0.0

    def check(self) -> None:
        """Stop here if the call is cancelled.

        Raises:
            Cancelled: let it pass.
        """
        if self.cancelled:
            raise Cancelled(f"{self.method} of {self.task_id} was given up")

    def usage(
        self,
        *,
        model: str | None = None,
        input_tokens: int = 0,
        output_tokens: int = 0,
        cost_micros: int = 0,
        estimated: bool = False,
    ) -> None:
        """Report what the step consumed; several reports add up.

        Raises:
            ValueError: as :meth:`UsageReport.add`.
        """
        with self._lock:
            report = self._usage or UsageReport()
            report.add(
                model=model,
                input_tokens=input_tokens,
                output_tokens=output_tokens,
                cost_micros=cost_micros,
                estimated=estimated,
            )
            self._usage = report

    @contextmanager
    def substep(self, name: str, given: Any = None) -> Iterator[Substep]:
        """Report one thing that the step does: ``with call.substep("search", given) as found:``.

        Set ``output`` (and ``usage``) on what is entered. An exception marks the substep as
        failed and passes.
        """
        entry = Substep(name=name, started_at=_now_ms(), input={} if given is None else given)
        with self._lock:
            self._substeps.append(entry)
        try:
            yield entry
        except BaseException as error:
            entry.status = "failed"
            entry.error = SubstepError(code=str(getattr(error, "code", "RAISED")))
            raise
        finally:
            entry.completed_at = _now_ms()

    def reported(self) -> tuple[UsageReport | None, tuple[Substep, ...]]:
        """What the step has reported so far; for servers and tests."""
        with self._lock:
            return self._usage, tuple(self._substeps)

    def cancel(self) -> None:
        """Mark the call as given up; for servers and tests."""
        self._gone.set()


def _count(value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _COUNT_MAX:
        raise ValueError("a count of usage is an integer from 0 to 10**15")
    return value


def _now_ms() -> int:
    return int(time.time() * 1000)
