"""The order in which a task is looked for, over sources that the tests play."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from orchestrator.api.replica.live_task import AcceptedTask, LiveTask
from orchestrator.api.tasks.errors import CreationRefusedError, TaskExpiredError, TaskUnknownError
from orchestrator.api.tasks.finder import RefusedCreation, TaskFinder
from schemas.codec import encode
from schemas.records import Millis, TaskCreated, TaskEvent, TaskId
from sinks.errors import SinkUnavailableError
from sinks.reads.stored import StoredLog, StoredStep, StoredTask
from tests.sinks.building import ALog

TASK = TaskId("task_1")
WAITING = AcceptedTask(
    0,
    7,
    "acme",
    encode(TaskCreated(task_id=TASK, tenant_id="acme", type="rag", created_at=Millis(1))),
)


@dataclass
class Source:
    """First and later answers of a place with live tasks, and the events that its log has."""

    now: LiveTask | AcceptedTask | None = None
    later: LiveTask | AcceptedTask | RefusedCreation | None = None
    left: list[TaskEvent] = field(default_factory=list)
    forgotten: bool = False

    async def look(self, task_id: TaskId, tenant_id: str | None) -> LiveTask | AcceptedTask | None:
        return self.now

    async def look_again(
        self, task_id: TaskId, tenant_id: str | None
    ) -> LiveTask | AcceptedTask | RefusedCreation | None:
        return self.later

    async def may_have_forgotten(self, task_id: TaskId) -> bool:
        return self.forgotten

    async def events(self, task_id: TaskId, tenant_id: str | None) -> list[TaskEvent]:
        return self.left


@dataclass
class Rows:
    """The answers of Postgres to each question for the row; True: it is down."""

    answers: list[StoredTask | bool | None] = field(default_factory=list)

    async def task(self, task_id: TaskId, tenant_id: str | None = None) -> StoredTask | None:
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, bool):
            raise SinkUnavailableError("down")
        return answer

    async def steps(self, task_id: TaskId) -> list[StoredStep]:
        return []

    async def logs(self, task_id: TaskId) -> list[StoredLog]:
        return []


def a_finder(source: Source, *answers: StoredTask | bool | None) -> TaskFinder[LiveTask]:
    return TaskFinder(source, Rows(list(answers)))


def a_row(sequence: int = 2) -> StoredTask:
    names: dict[str, Any] = dict.fromkeys(StoredTask.__slots__)
    return StoredTask(**names | {"id": TASK, "sequence": sequence})


def a_life() -> list[TaskEvent]:
    made = ALog()
    made.create(TASK)
    return [logged.event for logged in made.events]


def a_live_task(*, whole: bool) -> LiveTask:
    [created] = a_life()
    live = LiveTask(0, begun=created)
    live.add(created, encode(created))
    if not whole:
        live = LiveTask(0, base=live.folded().task)
    return live


async def test_a_live_task_is_found_while_postgres_is_down() -> None:
    live = a_live_task(whole=True)

    assert await a_finder(Source(now=live), True).find(TASK) is live


async def test_a_task_that_is_only_in_postgres_is_found_there() -> None:
    row = a_row()

    assert await a_finder(Source(later=WAITING), row).find(TASK) is row


@pytest.mark.parametrize("first", [None, True], ids=["not stored", "Postgres is down"])
async def test_a_creation_that_nobody_has_decided_is_found(first: bool | None) -> None:
    assert await a_finder(Source(later=WAITING), first).find(TASK) is WAITING


async def test_a_task_that_was_stored_between_two_looks_is_found() -> None:
    row = a_row()

    assert await a_finder(Source(), None, row).find(TASK) is row


@pytest.mark.parametrize("first", [None, True], ids=["not stored", "Postgres is down"])
async def test_a_refused_creation_is_answered_with_its_code(first: bool | None) -> None:
    finder = a_finder(Source(later=RefusedCreation("INPUT_INCOMPLETE", "no query")), first)

    with pytest.raises(CreationRefusedError, match="no query") as refused:
        await finder.find(TASK)
    assert refused.value.code == "INPUT_INCOMPLETE"


async def test_a_task_that_no_source_has_is_unknown() -> None:
    with pytest.raises(TaskUnknownError):
        await a_finder(Source()).find(TASK)


async def test_no_task_is_called_unknown_while_postgres_is_down() -> None:
    with pytest.raises(SinkUnavailableError):
        await a_finder(Source(), True).find(TASK)


async def test_no_task_is_called_unknown_while_postgres_lacks_what_it_held() -> None:
    with pytest.raises(SinkUnavailableError):
        await a_finder(Source(forgotten=True)).find(TASK)

    row = a_row()
    assert await a_finder(Source(forgotten=True), None, row).find(TASK) is row


async def test_the_history_of_a_task_whose_beginning_memory_lacks_is_read_from_the_log() -> None:
    live = a_live_task(whole=False)
    finder = a_finder(Source(left=a_life()), None)

    assert (await finder.history(live)).source == "log"


@pytest.mark.parametrize("answer", [None, True], ids=["not stored", "Postgres is down"])
async def test_a_history_whose_beginning_is_nowhere_is_expired(answer: bool | None) -> None:
    finder = a_finder(Source(left=a_life()[1:]), answer)

    with pytest.raises(TaskExpiredError):
        await finder.history(a_live_task(whole=False))
