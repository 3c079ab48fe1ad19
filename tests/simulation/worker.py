"""Who runs the steps: in any order, some of them twice, some of them late."""

from __future__ import annotations

import json

from schemas.records import Error, Json, Millis, ResultKind, StepName, StepResult
from tasks.effects import SendStep
from tests.simulation.broker import STEPS, TOPICS, Broker

_FIRST_STEP = StepName("retrieve")
_UNAVAILABLE = Error(code="UNAVAILABLE", retriable=True)
_BAD_INPUT = Error(code="BAD_INPUT")
_OUTCOMES = (
    *[(ResultKind.SUCCEEDED, None)] * 12,
    *[(ResultKind.FAILED, _UNAVAILABLE)] * 5,
    (ResultKind.FAILED, _BAD_INPUT),
    (ResultKind.FAILED, _BAD_INPUT),
    (ResultKind.CANCELLED, None),
)


class Worker:
    """All step workers of the system."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._taken = 0
        self._waiting: list[int] = []
        """Offsets of commands that nobody has run to their end."""
        self._executions = 0

    @property
    def idle(self) -> bool:
        return not self._waiting and self._taken == self._broker.end(STEPS)

    def step(self) -> bool:
        """Run some command, or say that one started; False if there was none."""
        end, rng = self._broker.end(STEPS), self._broker.rng
        self._waiting += range(self._taken, end)
        self._taken = end
        if self._waiting and (self._broker.calm or rng.random() < 0.9):
            at = rng.choice(self._waiting)
            if rng.random() < 0.2:
                self._report(at, ResultKind.STARTED, None)
                return True
            self._waiting.remove(at)
        elif end and not self._broker.calm and rng.random() < 0.3:
            at = rng.randrange(end)
        else:
            return False
        self._run(at)
        return True

    def _run(self, at: int) -> None:
        if self._command(at).command.deadline_at <= self._broker.now:
            self._report(at, ResultKind.CANCELLED, None)
        else:
            self._report(at, *self._broker.rng.choice(_OUTCOMES))

    def _report(self, at: int, kind: ResultKind, error: Error | None) -> None:
        sent, now = self._command(at), Millis(self._broker.now)
        command = sent.command
        result = StepResult(
            command_id=command.command_id,
            task_id=command.task_id,
            tenant_id=command.tenant_id,
            run=command.run,
            step=command.step,
            attempt=command.attempt,
            kind=kind,
            output=self._output(sent) if kind is ResultKind.SUCCEEDED else None,
            error=error,
            command_topic=TOPICS.step(command.step, sent.lane),
            command_partition=0,
            command_offset=at,
            started_at=now,
            completed_at=None if kind is ResultKind.STARTED else now,
        )
        offset = self._broker.append("worker", TOPICS.step_results, result)
        self._broker.trace.add(now, "WORKER", command.command_id, kind, f"result@{offset}")

    def _output(self, sent: SendStep) -> Json:
        """Unlike that of any other execution; the last step's tells what it was made from."""
        self._executions += 1
        if sent.command.step == _FIRST_STEP:
            return Json(json.dumps({"documents": [self._executions]}))
        return Json(json.dumps({"answer": self._executions, "from": sent.command.input}))

    def _command(self, at: int) -> SendStep:
        entry = self._broker.topic(STEPS)[at]
        assert entry is not None
        assert isinstance(entry.value, SendStep)
        return entry.value
