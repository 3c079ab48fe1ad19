"""Runs one step command: from the record to the published result. Total: it never fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from agents.services.client import StepRequest, StepResponse
from agents.services.directory import Directory
from agents.services.failure import ServiceError
from agents.step_report import Attempt, error_of, report_record
from schemas.codec import decode
from schemas.dead_letter import FailureClass, Stage
from schemas.errors import DecodeError, InvalidRecordError, SettingsError
from schemas.limits import Limits
from schemas.records import Error, ErrorCategory, Millis, StepCommand, StepResult
from schemas.topics import Topics
from streams import metrics
from streams.dead_letters import DeadLetters, failure_of
from streams.delivery import Delivery
from streams.errors import PublishError
from streams.publisher import Publisher
from streams.tracing import consumer_span, trace_headers
from tasks.identity import check_key

log = structlog.get_logger()

# A client keeps its own deadline; this one holds if the client does not.
_GRACE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerParts:
    """What every command of this process shares."""

    topics: Topics
    limits: Limits
    publisher: Publisher
    dead_letters: DeadLetters
    services: Directory
    worker: str
    """The name of this process, in results and logs."""
    started_after_ms: int
    clock: Callable[[], Millis]


class StepRunner:
    """Calls the service of a command and reports what became of it."""

    def __init__(self, parts: RunnerParts) -> None:
        self._parts = parts

    async def run(self, delivery: Delivery) -> None:
        """Run one command; return when its result, or its dead letter, is delivered.

        Cancelled at a rebalance, it aborts the call and reports nothing: the command is
        delivered again.

        Raises:
            PublishError: unknown whether the result was written. The process must stop.
        """
        with consumer_span("run_step", delivery.headers):
            try:
                command = self._read(delivery)
            except (DecodeError, InvalidRecordError) as error:
                await self._bury(delivery, error)
            else:
                await self._run(command, delivery)

    def _read(self, delivery: Delivery) -> StepCommand:
        max_bytes = self._parts.limits.record_max_bytes
        command = decode(delivery.value, StepCommand, max_bytes=max_bytes)
        check_key(delivery.key, command.task_id)
        return command

    async def _run(self, command: StepCommand, delivery: Delivery) -> None:
        began = time.perf_counter()
        attempt = Attempt(
            command=command,
            origin=delivery.origin,
            worker=self._parts.worker,
            started_at=self._parts.clock(),
        )
        result = await self._result(attempt)
        await self._publish(attempt, result)
        duration_s = time.perf_counter() - began
        metrics.RECORDS.labels(delivery.topic, result.kind).inc()
        metrics.STEP_SECONDS.labels(command.step, result.kind).observe(duration_s)
        log.info(
            f"step_{result.kind}",
            command_id=command.command_id,
            service=command.service,
            code=result.error.code if result.error else None,
            duration_ms=round(duration_s * 1000),
        )

    async def _result(self, attempt: Attempt) -> StepResult:
        """Make the attempt; whatever goes wrong is an outcome."""
        command, retry_after_ms = attempt.command, None
        try:
            response = await self._call(attempt)
        except ServiceError as error:
            failure, retry_after_ms = error.as_record(), error.retry_after_ms
        except _FoundError as found:
            failure = found.error
        except SettingsError as error:
            failure = error_of(command, "SERVICE_UNKNOWN", str(error), ErrorCategory.INTERNAL)
        except TimeoutError:
            message, category = f"no answer in {command.timeout_ms} ms", ErrorCategory.TIMEOUT
            failure = error_of(command, "SERVICE_TIMEOUT", message, category, retriable=True)
        except PublishError:
            raise
        # The last line of defence: a fault of ours fails this attempt, not the process.
        except Exception as error:
            log.error("step_raised", command_id=command.command_id, exc_info=True)
            message, category = f"{type(error).__name__}: {error}", ErrorCategory.INTERNAL
            failure = error_of(command, "INTERNAL", message, category, retriable=True)
        else:
            return attempt.succeeded(response, self._parts.clock())
        return attempt.failed(failure, self._parts.clock(), retry_after_ms=retry_after_ms)

    async def _call(self, attempt: Attempt) -> StepResponse:
        command = attempt.command
        left_ms = command.deadline_at - attempt.started_at
        if left_ms <= 0:
            message = f"the deadline passed {-left_ms} ms before the call"
            raise _FoundError(
                error_of(command, "DEADLINE_EXCEEDED", message, ErrorCategory.TIMEOUT)
            )
        timeout_s = min(command.timeout_ms, left_ms) / 1000
        client = self._parts.services.client(command.service)
        async with asyncio.timeout(timeout_s + _GRACE_S):
            call = asyncio.ensure_future(client.call(_request(command, timeout_s)))
            try:
                await asyncio.wait({call}, timeout=self._parts.started_after_ms / 1000)
                if not call.done():
                    await self._publish(attempt, attempt.started())
                response = await call
            finally:
                if not call.done():
                    call.cancel()
                    await asyncio.wait({call})
        self._check_size(command, response)
        return response

    def _check_size(self, command: StepCommand, response: StepResponse) -> None:
        size = len(response.output.encode(errors="surrogatepass"))
        allowed = self._parts.limits.step_output_max_bytes
        if size > allowed:
            message = f"the output has {size} bytes, at most {allowed} may be"
            raise _FoundError(
                error_of(command, "OUTPUT_TOO_LARGE", message, ErrorCategory.DOWNSTREAM)
            )

    async def _publish(self, attempt: Attempt, result: StepResult) -> None:
        parts = self._parts
        record = report_record(parts.topics, parts.limits, attempt, result, trace_headers())
        await parts.publisher.publish([record])

    async def _bury(self, delivery: Delivery, error: DecodeError | InvalidRecordError) -> None:
        decoding = isinstance(error, DecodeError)
        failure = failure_of(
            error,
            stage=Stage.DECODE if decoding else Stage.VALIDATE,
            failure_class=FailureClass.POISON if decoding else FailureClass.REJECTED,
        )
        await self._parts.dead_letters.bury([(delivery.origin, failure)])
        metrics.RECORDS.labels(delivery.topic, error.code).inc()


class _FoundError(Exception):
    """A failure that is already described."""

    def __init__(self, error: Error) -> None:
        super().__init__(error.code)
        self.error = error


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
