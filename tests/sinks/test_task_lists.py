"""Lists of tasks: their order, their pages, and what finding a page costs among 100,000."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from schemas.records import CommandKind
from sinks.errors import CursorError
from sinks.queries import query
from sinks.reads.paging import NewestCursor, QueueCursor, TaskFilter
from sinks.reads.reader import Reader
from sinks.reads.stored import ListedTask
from sinks.settings import PostgresSettings
from sinks.writer import Writer
from tests.sinks.building import ALog, write_all
from tests.sinks.conftest import named

TASKS = 100_000
PAGE = 50
OF_THE_QUEUE = TASKS // 50
OF_A_TENANT = len(range(7, TASKS + 1, 83))
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)

# Two pages' worth of tasks share each millisecond, so that pages also end inside of one.
_FILL = """
INSERT INTO ai_orchestrator.tasks (
    id, type, status, phase, priority, conversation_id, tenant_id, input, steps, metadata,
    created_at, updated_at, deadline_at, pipeline, pipeline_version, run, sequence,
    event_partition, event_offset
)
SELECT
    'task_' || n,
    (ARRAY['rag', 'agent', 'chat', 'voice', 'multimodal'])[1 + n % 5],
    CASE WHEN n % 50 = 0 THEN 'pending' WHEN n % 997 = 0 THEN 'failed' ELSE 'completed' END,
    '', (n / 7) % 11, 'conversation_' || n % 5000, 'tenant_' || n % 83, '{}', '[]', '{}',
    $1::timestamptz + (n / 100) * interval '80 minutes 1 millisecond',
    now(), now(), 'rag', 1, 1, 1, 0, n
FROM generate_series(1, $2::integer) AS n
"""


@pytest.fixture(scope="module")
def crowded(postgres_dsn: str, migrated_template: str) -> Iterator[str]:
    """The DSN of a database with 100,000 tasks of two months."""
    name = "sink_crowded"
    asyncio.run(_crowd(postgres_dsn, name, migrated_template))
    yield named(postgres_dsn, name)
    asyncio.run(_execute(postgres_dsn, f"DROP DATABASE {name} WITH (FORCE)"))


async def _crowd(server: str, name: str, template: str) -> None:
    await _execute(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    # With statistics of a sample two plans of "tenant and time" come out about equal.
    await _execute(server, f"ALTER DATABASE {name} SET default_statistics_target = 1000")
    conn = await asyncpg.connect(named(server, name))
    await conn.execute(
        "SELECT ai_orchestrator.ensure_month(m)"
        " FROM unnest(ARRAY['2026-01-01', '2026-02-01']::date[]) AS m"
    )
    await conn.execute(_FILL, NEW_YEAR, TASKS)
    await conn.execute("ANALYZE ai_orchestrator.tasks")
    await conn.close()


class Explaining(Reader):
    """A reader that asks for the plan of what it would read, carried out."""

    plan: dict[str, Any]

    async def fetch(self, name: str, *arguments: object) -> list[dict[str, Any]]:
        async with self._database.connection() as conn:
            explained = f"EXPLAIN (ANALYZE, FORMAT JSON) {query(name)}"
            self.plan = json.loads(await conn.fetchval(explained, *arguments))[0]["Plan"]
        return []

    def nodes(self) -> Iterator[dict[str, Any]]:
        """The plan's nodes that were carried out."""
        todo = [self.plan]
        while todo:
            node = todo.pop()
            todo.extend(node.get("Plans", ()))
            if node["Actual Loops"] > 0:
                yield node

    def tables_read_whole(self) -> list[str]:
        """Tables that were read without an index; an empty one (a month ahead) may be."""
        return [
            node["Relation Name"]
            for node in self.nodes()
            if node["Node Type"] == "Seq Scan" and _rows(node) > 0
        ]

    def rows_read(self) -> int:
        """How many rows of tables were looked at."""
        return sum(_rows(node) for node in self.nodes() if "Relation Name" in node)


def _rows(scan: dict[str, Any]) -> int:
    read = scan["Actual Loops"] * scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0)
    return int(read)


A_FILTER = {
    "everything": TaskFilter(),
    "conversation": TaskFilter(conversation_id="conversation_4711"),
    "rare status": TaskFilter(status="failed"),
    "common status": TaskFilter(status="completed"),
    "type": TaskFilter(type="voice"),
    "tenant": TaskFilter(tenant_id="tenant_7"),
    "tenant and status": TaskFilter(tenant_id="tenant_7", status="pending"),
    "time": TaskFilter(
        since=NEW_YEAR + timedelta(days=20), until=NEW_YEAR + timedelta(days=20, hours=3)
    ),
    "tenant and time": TaskFilter(tenant_id="tenant_7", since=NEW_YEAR + timedelta(days=50)),
}
MIDDLE = NewestCursor(NEW_YEAR + timedelta(days=30), "task_5")


@pytest.mark.parametrize("after", [None, MIDDLE], ids=["first page", "page in the middle"])
@pytest.mark.parametrize("name", A_FILTER)
async def test_a_page_among_100000_tasks_is_read_from_an_index_without_sorting_what_matches(
    crowded: str, name: str, after: NewestCursor | None
) -> None:
    reader = Explaining(PostgresSettings(dsn=crowded))
    await reader.open()
    await reader.list_tasks(A_FILTER[name], limit=PAGE, after=after)
    await reader.close()

    sorts = [node for node in reader.nodes() if node["Node Type"] == "Sort"]
    assert not reader.tables_read_whole()
    # Where hardly more matches than a page holds, to sort it is as good as to find it in order.
    assert reader.rows_read() <= (4 * PAGE if sorts else TASKS / 100), reader.plan


@pytest.mark.parametrize("after", [None, QueueCursor(5, MIDDLE.created_at, "task_5")])
async def test_a_page_of_the_queue_among_100000_tasks_is_read_from_its_index(
    crowded: str, after: QueueCursor | None
) -> None:
    reader = Explaining(PostgresSettings(dsn=crowded))
    await reader.open()
    await reader.list_queue(TaskFilter(), limit=PAGE, after=after)
    await reader.close()

    indexes = {node["Index Name"] for node in reader.nodes() if "Index Name" in node}
    assert not reader.tables_read_whole()
    assert indexes
    assert all("status_priority" in index for index in indexes), indexes
    # 2,000 tasks are pending: the two branches read a page each, a little more for equals.
    assert reader.rows_read() <= 6 * PAGE


async def test_the_pages_of_a_list_hold_every_task_once_newest_first(crowded: str) -> None:
    which = TaskFilter(tenant_id="tenant_7")
    pages = await _pages_of_newest(crowded, which, limit=100)

    listed = [task for page in pages for task in page]
    assert len(listed) == len({task.id for task in listed}) == OF_A_TENANT
    assert listed == sorted(listed, key=lambda task: (task.created_at, task.id), reverse=True)
    assert [len(page) for page in pages[:-1]] == [100] * (len(pages) - 1)


async def test_the_pages_of_the_queue_hold_every_pending_task_once_most_urgent_first(
    crowded: str,
) -> None:
    pages = await _pages_of_queue(crowded, TaskFilter(), limit=300)

    listed = [task for page in pages for task in page]
    assert len(listed) == len({task.id for task in listed}) == OF_THE_QUEUE
    assert listed == sorted(listed, key=lambda t: (-t.priority, t.created_at, t.id))
    assert {task.status for task in listed} == {"pending"}


async def test_the_queue_of_a_tenant_and_a_type_holds_only_theirs(crowded: str) -> None:
    which = TaskFilter(tenant_id="tenant_7", type="rag")
    pages = await _pages_of_queue(crowded, which, limit=300)

    listed = [task for page in pages for task in page]
    assert listed
    assert {(task.tenant_id, task.type) for task in listed} == {("tenant_7", "rag")}


async def test_a_list_holds_the_tasks_of_its_time_from_the_first_instant_to_before_the_last(
    crowded: str,
) -> None:
    step = timedelta(minutes=80, milliseconds=1)
    which = TaskFilter(since=NEW_YEAR + step, until=NEW_YEAR + 2 * step)
    [listed, *_] = await _pages_of_newest(crowded, which, limit=1000)

    assert {task.created_at for task in listed} == {NEW_YEAR + step}
    assert len(listed) == 100


async def test_tasks_of_a_conversation_are_listed_newest_first(
    writer: Writer, reader: Reader
) -> None:
    log = ALog()
    for number in range(3):
        log.create(f"task_{number}")
    log.command(CommandKind.CANCEL, "task_1")
    await write_all(writer, log.events)

    listed = await reader.list_tasks(TaskFilter(conversation_id="conversation_1"), limit=10)

    assert [(task.id, task.status) for task in listed] == [
        ("task_2", "pending"),
        ("task_1", "cancelled"),
        ("task_0", "pending"),
    ]
    assert await reader.list_tasks(TaskFilter(conversation_id="other"), limit=10) == []


@pytest.mark.parametrize("task_id", ["task_1", "a.b.c", "x" * 64])
def test_a_cursor_is_read_as_it_was_written(task_id: str) -> None:
    at = datetime(2026, 2, 3, 4, 5, 6, 789_001, tzinfo=UTC)

    assert NewestCursor.parse(str(NewestCursor(at, task_id))) == NewestCursor(at, task_id)
    assert QueueCursor.parse(str(QueueCursor(10, at, task_id))) == QueueCursor(10, at, task_id)


@pytest.mark.parametrize(
    "text",
    [
        *("n", "n.1", "n..task", "n.1.", "n.1.a b", "q.1.1.", "n.x.task", f"n.{10**30}.a"),
        *("q.11.1.task", "q.-1.1.task", "x.1.1.task", "n.1.\0", "q.5.1.\ud800"),
    ],
)
def test_a_text_that_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(CursorError, match="is not a cursor of the order newest"):
        NewestCursor.parse(text)
    with pytest.raises(CursorError, match="is not a cursor of the order queue"):
        QueueCursor.parse(text)


def test_a_cursor_of_the_other_order_is_refused() -> None:
    at = datetime(2026, 2, 3, tzinfo=UTC)

    with pytest.raises(CursorError):
        QueueCursor.parse(str(NewestCursor(at, "task_1")))
    with pytest.raises(CursorError):
        NewestCursor.parse(str(QueueCursor(1, at, "task_1")))


async def _pages_of_newest(dsn: str, which: TaskFilter, *, limit: int) -> list[list[ListedTask]]:
    reader, pages = Reader(PostgresSettings(dsn=dsn)), []
    await reader.open()
    after = None
    while page := await reader.list_tasks(which, limit=limit, after=after):
        pages.append(page)
        after = NewestCursor.parse(str(NewestCursor.of(page[-1])))
    await reader.close()
    return pages


async def _pages_of_queue(dsn: str, which: TaskFilter, *, limit: int) -> list[list[ListedTask]]:
    reader, pages = Reader(PostgresSettings(dsn=dsn)), []
    await reader.open()
    after = None
    while page := await reader.list_queue(which, limit=limit, after=after):
        pages.append(page)
        after = QueueCursor.parse(str(QueueCursor.of(page[-1])))
    await reader.close()
    return pages


async def _execute(dsn: str, statement: str) -> None:
    conn = await asyncpg.connect(dsn)
    try:
        await conn.execute(statement)
    finally:
        await conn.close()
