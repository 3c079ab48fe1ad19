"""What the tests of the sink are made of: logs of tasks that the real rules decided."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import pytest

from schemas.records import (
    CommandKind,
    Error,
    ErrorCategory,
    EventKind,
    Json,
    Millis,
    ResultKind,
    StepResult,
    SubStep,
    TaskCommand,
    TaskCreated,
    TaskEvent,
    TaskId,
    Usage,
)
from sinks.rows import LogEvent
from sinks.statements import write_batch
from sinks.writer import Position, Writer
from tasks.apply import apply
from tasks.decide import Accepted, Rules, decide
from tasks.inputs import Cause, Commanded, Created, DeadlineDue, Input, Reported
from tasks.pipeline_file import load_pipelines
from tasks.task import Outstanding, Task

START = Millis(1_760_000_000_123)
"""9 October 2025."""
RULES = Rules(pipelines=load_pipelines())
NOWHERE = Cause("", -1, -1)
USAGE = Usage(model="small", input_tokens=12, output_tokens=3, cost_micros=450)
BROKEN = Error(code="BAD_INPUT", message="no", category=ErrorCategory.USER, service="rag-engine")
AWAY = Error(code="UNAVAILABLE", category=ErrorCategory.DOWNSTREAM, retriable=True)


def lose_answers(patch: pytest.MonkeyPatch, *, done: bool) -> None:
    """Let every call that writes a batch go without an answer, after it was done or instead."""

    async def broken(*given: Any, **named: Any) -> None:
        if done:
            await write_batch(*given, **named)
        raise ConnectionResetError("the answer is lost")

    patch.setattr("sinks.writer.write_batch", broken)


@dataclass(repr=False)
class ALog:
    """One partition of ``task-events``, as an owner with a clock of its own writes it."""

    partition: int = 0
    now: int = START
    events: list[LogEvent] = field(default_factory=list)
    states: dict[TaskId, Task] = field(default_factory=dict)
    last_states: dict[TaskId, Task] = field(default_factory=dict)
    """Those of forgotten tasks, too."""
    next_offset: int = 0

    def __repr__(self) -> str:
        return " ".join(f"{logged.event.task_id}:{logged.event.kind}" for logged in self.events)

    def create(self, task_id: str = "task_1", *, hold: bool = False, given: str = "{}") -> None:
        record = TaskCreated(
            task_id=TaskId(task_id),
            tenant_id="acme",
            type="rag",
            input=Json(given if given != "{}" else '{"query":"why?"}'),
            metadata=Json('{"source":{"app":"web"}}'),
            priority=5,
            conversation_id="conversation_1",
            user_id="user_1",
            hold=hold,
            timeout_ms=3_600_000,
            created_at=Millis(self.now - 40),
        )
        self.decide(TaskId(task_id), Created(NOWHERE, record))

    def command(self, kind: CommandKind, task_id: str = "task_1", **rest: object) -> None:
        record = TaskCommand(
            command_id="c",
            task_id=TaskId(task_id),
            tenant_id="acme",
            kind=kind,
            actor="ada",
            reason="because",
            issued_at=Millis(self.now),
            **rest,  # type: ignore[arg-type]
        )
        self.decide(TaskId(task_id), Commanded(NOWHERE, record))

    def report(self, kind: ResultKind, task_id: str = "task_1", error: Error = BROKEN) -> None:
        waiting = self.states[TaskId(task_id)].outstanding
        if waiting is not None:
            self.decide(TaskId(task_id), Reported(NOWHERE, self._result(waiting, kind, error)))

    def deadline(self, task_id: str = "task_1") -> None:
        self.now = max(self.now, self.states[TaskId(task_id)].deadline_at)
        self.decide(TaskId(task_id), DeadlineDue(TaskId(task_id)))

    def forget(self, task_id: str = "task_1") -> None:
        self.states.pop(TaskId(task_id), None)

    def decide(self, task_id: TaskId, given: Input) -> None:
        self.now += 7
        state = self.states.get(task_id)
        decision = decide(state, given, now=Millis(self.now), jitter=0.5, rules=RULES)
        if isinstance(decision, Accepted):
            self.states[task_id] = apply(state, decision.event)
            self.last_states[task_id] = self.states[task_id]
            self.append(decision.event)

    def append(self, event: TaskEvent) -> None:
        self.events.append(LogEvent(self.partition, self.next_offset, event))
        self.next_offset += 1

    def run_to_the_end(self, task_id: str = "task_1") -> None:
        while self.states[TaskId(task_id)].outstanding is not None:
            self.report(ResultKind.SUCCEEDED, task_id)

    def _result(self, waiting: Outstanding, kind: ResultKind, error: Error) -> StepResult:
        ended = kind is not ResultKind.STARTED
        return StepResult(
            command_id=waiting.command_id,
            task_id=TaskId(waiting.command_id.split("/")[0]),
            tenant_id="acme",
            step=waiting.step,
            attempt=waiting.attempt,
            kind=kind,
            output=OUTPUT if kind is ResultKind.SUCCEEDED else None,
            error=error if kind is ResultKind.FAILED else None,
            usage=USAGE if ended else None,
            substeps=[a_substep(self.now)] if kind is ResultKind.SUCCEEDED else [],
            worker="worker-1",
            started_at=Millis(self.now - 3),
            completed_at=Millis(self.now) if ended else None,
        )


OUTPUT = Json('{"documents":[],"answer":"yes","citations":[]}')


def a_substep(at: int) -> SubStep:
    return SubStep(
        name="look",
        status="succeeded",
        input=Json('{"n":1}'),
        output=Json('{"found":[1,2]}'),
        started_at=Millis(at),
        completed_at=Millis(at),
        usage=USAGE,
    )


def a_completed_log() -> ALog:
    """One task, created and completed."""
    log = ALog()
    log.create()
    log.report(ResultKind.STARTED)
    log.run_to_the_end()
    return log


def a_marker(epoch: int) -> TaskEvent:
    return TaskEvent(
        event_id=f"marker/{epoch}",
        task_id=TaskId(""),
        tenant_id="",
        kind=EventKind.OWNERSHIP_TAKEN,
        occurred_at=START,
        owner=f"owner-{epoch}",
        owner_epoch=epoch,
    )


def at(offset: int, epoch: int = 1) -> Position:
    return Position(next_offset=offset, epoch=epoch, owner=f"owner-{epoch}")


async def write_all(
    writer: Writer, events: Sequence[LogEvent], batches: Iterable[int] = ()
) -> None:
    """Write events of one partition in batches that begin at these indexes."""
    cuts = [0, *sorted(set(batches)), len(events)]
    for begin, end in pairwise(cuts):
        await write_on(writer, events[begin:end])


async def write_on(writer: Writer, events: Sequence[LogEvent]) -> None:
    """Write events where the partition stands; move it past them, never back."""
    partition = events[0].partition if events else 0
    now = (await writer.positions([partition])).get(partition)
    end = events[-1].offset + 1 if events else 0
    await writer.write(partition, now, events, at(max(end, now.next_offset if now else 0)))


@asynccontextmanager
async def a_proxy(dsn: str) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """The DSN of a way to the server on which, once the event is set, nothing passes."""
    server_at, silence = urlsplit(dsn), asyncio.Event()

    async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            if not silence.is_set():
                target.write(data)

    async def serve(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_connection(server_at.hostname, server_at.port)
        async with asyncio.TaskGroup() as both:
            both.create_task(pass_on(source, questions))
            both.create_task(pass_on(answers, target))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield dsn.replace(f":{server_at.port}/", f":{port}/"), silence
    server.close()
