"""Makes one attempt: from a command to its outcome. Every failure becomes an outcome."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from agents.services.client import StepRequest, StepResponse
from agents.services.directory import Directory
from agents.services.failure import ServiceError
from agents.services.inline_client import InlineStepClient
from agents.steps.answers import Answers
from agents.steps.call import LeakedCancelError, StepCall, StoppedError
from agents.steps.cancels import Cancels
from agents.steps.chunks import Chunks
from agents.steps.gate.service_gate import ServiceGate
from agents.steps.hedge import HedgedClient
from agents.steps.past_results import PastResults
from agents.steps.report import Attempt, error_of, report_record
from agents.steps.spans import describe_usage, service_span
from agents.steps.spent import Spent
from schemas.errors import SettingsError
from schemas.limits import Limits
from schemas.records import (
    Control,
    ControlKind,
    Error,
    ErrorCategory,
    Millis,
    StepCommand,
    StepResult,
    Usage,
)
from schemas.topics import Topics
from streams.cancellation import this_task_is_cancelled
from streams.errors import PublishError
from streams.kafka.dead_letters import DeadLetters
from streams.kafka.patience import publish_patiently
from streams.kafka.publisher import Outgoing, Publisher
from streams.tracing import trace_headers

log = structlog.get_logger()

# No task lives longer. The limit also keeps an absurd deadline from overflowing a timer.
_TIMEOUT_MAX_MS = 24 * 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerParts:
    """The parts that all commands of this process share."""

    topics: Topics
    limits: Limits
    publisher: Publisher
    dead_letters: DeadLetters
    services: Directory
    cancels: Cancels
    answers: Answers
    past: PastResults
    gate: ServiceGate
    worker: str
    """The name of this process, in results and logs."""
    started_after_ms: int
    hedge_after_s: float | None = None
    """When a call gets a second one beside it; None: never."""
    clock: Callable[[], Millis]


class RunningAttempt:
    """A running attempt."""

    def __init__(self, attempt: Attempt, parts: RunnerParts) -> None:
        self._attempt = attempt
        self._parts = parts
        self._call = StepCall()
        self._whole_time = False
        """Whether the service had all the time that its pipeline gives it."""
        self._reported = False
        """Whether the start was reported."""
        self._spent = Spent()
        self.began_s = time.perf_counter()
        """When its service was called, on the performance counter."""
        self._chunks = Chunks(
            attempt.command,
            attempt.origin.partition,
            topics=parts.topics,
            publisher=parts.publisher,
            clock=parts.clock,
        )

    @property
    def command(self) -> StepCommand:
        """The command of the attempt."""
        return self._attempt.command

    @property
    def partition(self) -> int:
        """The partition of the command, which is the partition of its task."""
        return self._attempt.origin.partition

    @property
    def called(self) -> bool:
        """True while the service is called, and once it has ended the attempt."""
        return self._call.called

    def stop(self, control: Control) -> None:
        """Abort the call of the service; the outcome is ``cancelled``, or a late answer."""
        self._call.stop(control)
        self._parts.gate.look_again()

    async def run(self) -> tuple[StepResult, Outgoing]:
        """Make the attempt; return its result, and the record that reports it.

        Raises:
            PublishError: it is unknown whether the start was reported. The process must stop.
            GivenBackError: the attempt had not begun, and the process has to let go of its command.
        """
        while (result := await self._tried()) is None:
            # The same attempt: its service refused the call, or was only asked whether it is back.
            self._call = StepCall()
            await self._chunks.begin_again()
        # Watchers get every chunk of an answer before its end.
        await self._chunks.flush()
        result = self._spent.with_result(result)
        return result, self._record(result)

    def run_at_once(self, client: InlineStepClient) -> tuple[StepResult, Outgoing] | None:
        """As :meth:`run`, without waiting; None if it has to wait, and nothing is reported yet."""
        gate, result = self._parts.gate, None
        if self._left_s() <= 0 or (given := gate.admitted_at_once(self.command)) is None:
            return None
        try:
            result = self._result_at_once(client)
        finally:
            again = gate.ended(given, self.command, result, whole_time=self._whole_time)
        return None if again else (result, self._record(result))

    async def _tried(self) -> StepResult | None:
        """Call the service once; None: the same attempt is to be made again."""
        gate, result = self._parts.gate, None
        try:
            given = await gate.admitted(self.command, left_s=self._left_s)
        except (Exception, asyncio.CancelledError):
            self._log_spent()
            raise
        try:
            self.began_s = time.perf_counter()
            self._attempt = replace(self._attempt, started_at=self._now())
            result = await self._result()
        finally:
            again = gate.ended(given, self.command, result, whole_time=self._whole_time)
        return None if again else result

    async def _result(self) -> StepResult:
        try:
            response = await self._made()
        except (Exception, asyncio.CancelledError) as error:
            return self._unmade(error)
        return self._attempt.succeeded(response, self._now())

    def _result_at_once(self, client: InlineStepClient) -> StepResult:
        try:
            timeout_s = self._wanted()
            with service_span(self.command) as span:
                response = client.call_at_once(_request(self.command, timeout_s))
                describe_usage(span, self.command, response.usage)
            self._check_size(response)
        except Exception as error:
            return self._unmade(error)
        return self._attempt.succeeded(response, self._now())

    async def _made(self) -> StepResponse:
        parts, timeout_s = self._parts, self._wanted()
        service = self.command.service
        client = parts.services.client(service)
        if parts.hedge_after_s is not None:
            client = HedgedClient(
                client, after_s=parts.hedge_after_s, allowed=lambda: parts.gate.hedge(service)
            )
        with service_span(self.command) as span:
            response = await self._call.run(
                client,
                replace(
                    _request(self.command, timeout_s),
                    whole_time=self._whole_time,
                    on_spent=self._spent.add,
                ),
                slow_after_s=parts.started_after_ms / 1000,
                slow=self._report_started,
                on_chunk=self._chunks.add,
            )
            describe_usage(span, self.command, response.usage)
        self._check_size(response)
        return response

    def _wanted(self) -> float:
        """The seconds that the service has, if the attempt is still wanted."""
        command = self.command
        control = self._parts.cancels.find(command.task_id, command.run)
        if control is not None:
            raise StoppedError(control)
        left_ms = command.deadline_at - self._attempt.started_at
        if left_ms <= 0:
            message = f"the deadline passed {-left_ms} ms before the call"
            category = ErrorCategory.TIMEOUT
            raise _FoundError(error_of(command, "DEADLINE_EXCEEDED", message, category))
        self._whole_time = left_ms >= command.timeout_ms
        return min(command.timeout_ms, left_ms, _TIMEOUT_MAX_MS) / 1000

    async def _report_started(self) -> None:
        if self._reported:
            return
        self._reported = True
        record = self._record(self._attempt.started())
        await publish_patiently(self._parts.publisher, [record])

    def _check_size(self, response: StepResponse) -> None:
        size = len(response.output.encode(errors="surrogatepass"))
        allowed = self._parts.limits.step_output_max_bytes
        if size > allowed:
            message = f"the output has {size} bytes, at most {allowed} may be"
            category = ErrorCategory.DOWNSTREAM
            error = error_of(self.command, "OUTPUT_TOO_LARGE", message, category)
            # The call was paid for.
            raise _FoundError(error, response.usage)

    def _unmade(self, error: BaseException) -> StepResult:
        """The result of an attempt without an answer; re-raises errors that must end the process.

        The last line of defence: a bug of ours fails this attempt, not the process.
        """
        attempt, now = self._attempt, self._now()
        match error:
            case StoppedError():
                return attempt.cancelled(_why(self.command, error.control), now)
            case ServiceError():
                found, after_ms = error.as_record(), error.retry_after_ms
                return attempt.failed(found, now, retry_after_ms=after_ms)
            case PublishError():
                raise error
            case asyncio.CancelledError() if this_task_is_cancelled():
                self._log_spent()
                raise error
        usage = error.usage if isinstance(error, _FoundError) else None
        return attempt.failed(self._failure(error), now, usage=usage)

    def _log_spent(self) -> None:
        """Log what an attempt consumed that has no report: another process makes it again."""
        if (usage := self._spent.usage) is not None:
            log.warning(
                "attempt_left_with_usage",
                command_id=self.command.command_id,
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cost_micros=usage.cost_micros,
                estimated=usage.estimated,
            )

    def _failure(self, error: BaseException) -> Error:
        command = self.command
        match error:
            case _FoundError():
                return error.error
            case SettingsError():
                # The tenant must not read addresses and paths of this installation.
                log.error("service_unknown", service=command.service, reason=str(error))
                message, category = "the worker cannot call this service", ErrorCategory.INTERNAL
                return error_of(command, "SERVICE_UNKNOWN", message, category)
            case TimeoutError():
                message, category = f"no answer in {command.timeout_ms} ms", ErrorCategory.TIMEOUT
                return error_of(command, "SERVICE_TIMEOUT", message, category, retriable=True)
            case LeakedCancelError():
                message, category = "the client gave the call up", ErrorCategory.DOWNSTREAM
                return error_of(command, "SERVICE_ABORTED", message, category, retriable=True)
            case _:
                return self._fault(error)

    def _fault(self, error: BaseException) -> Error:
        log.error("step_raised", command_id=self.command.command_id, exc_info=error)
        # Without the words of the error, which may name addresses and paths of this installation.
        message, category = f"a fault: {type(error).__name__}", ErrorCategory.INTERNAL
        return error_of(self.command, "INTERNAL", message, category, retriable=True)

    def _left_s(self) -> float:
        """Seconds for which the attempt is still wanted."""
        command = self.command
        if self._parts.cancels.find(command.task_id, command.run) is not None:
            return 0.0
        return (command.deadline_at - self._now()) / 1000

    def _record(self, result: StepResult) -> Outgoing:
        parts = self._parts
        return report_record(parts.topics, parts.limits, self._attempt, result, trace_headers())

    def _now(self) -> Millis:
        return self._parts.clock()


class _FoundError(Exception):
    """A failure that is already described."""

    def __init__(self, error: Error, usage: Usage | None = None) -> None:
        super().__init__(error.code)
        self.error = error
        self.usage = usage


def _why(command: StepCommand, control: Control) -> Error:
    if control.kind is ControlKind.DEADLINE:
        message, category = "the task's deadline passed", ErrorCategory.TIMEOUT
        return error_of(command, "DEADLINE_EXCEEDED", message, category)
    message = "the task was cancelled"
    return error_of(command, "TASK_CANCELLED", message, ErrorCategory.CANCELLED)


def _request(command: StepCommand, timeout_s: float) -> StepRequest:
    return StepRequest(
        method=command.method,
        input=command.input,
        task_id=command.task_id,
        run=command.run,
        step=command.step,
        attempt=command.attempt,
        tenant_id=command.tenant_id,
        conversation_id=command.conversation_id,
        idempotency_key=command.command_id,
        timeout_s=timeout_s,
        trace=trace_headers(),
    )
