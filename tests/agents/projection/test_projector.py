"""The sink's side of the log, on a real Kafka and a real Postgres."""

import asyncio
from collections.abc import Mapping, Sequence

import msgspec
import pytest

from agents.projection.late_rows import LateRows
from agents.projection.projector import Projector
from schemas.headers import header_text
from schemas.records import TaskEvent, TaskId
from schemas.topics import dlq
from sinks.errors import SinkPositionError
from sinks.letters.rewriter import Rewriter
from sinks.writer import Position
from streams.envelopes import event_record
from streams.kafka.log_reader import LogReader
from streams.kafka.publisher import Outgoing
from tests.agents.projection.projecting import Sink, a_marker, running
from tests.logged import logged
from tests.tasks.builders import a_life, a_task_created

WAIT_S = 30.0


def a_history(task_id: str) -> list[TaskEvent]:
    life = a_life(a_task_created(task_id=task_id))
    return life.events


async def test_what_the_group_has_committed_but_postgres_does_not_hold_is_read_again(
    sink: Sink,
) -> None:
    # So it is after Postgres was restored from a backup.
    await sink.append([a_marker(), *a_history("t1"), *a_history("t2")])
    await sink.commit(3)
    await Projector(0, sink.parts).open()

    assert await sink.statuses("t1", "t2") == ["pending", "pending"]


async def test_a_row_that_postgres_refuses_is_dead_lettered_and_the_others_are_written(
    sink: Sink,
) -> None:
    good = [a_history(f"t{n}")[0] for n in range(4)]
    bad = msgspec.structs.replace(a_history("bad")[0], phase="a\x00b")
    await sink.append([a_marker(), *good[:2], bad, *good[2:]])
    await sink.commit(6)
    await Projector(0, sink.parts).open()

    assert await sink.statuses("t0", "t1", "t2", "t3", "bad") == ["pending"] * 4
    async with LogReader(sink.parts.kafka, client_id="t") as reader:
        topic = dlq(sink.parts.topics.task_events)
        letters = [r async for batch in reader.read(topic, 0, 0, 1) for r in batch]
    assert header_text(letters[0].headers, "__dlq.errors.code") == "ROW_REFUSED"
    assert header_text(letters[0].headers, "__dlq.errors.offset") == "3"
    assert header_text(letters[0].headers, "__dlq.task.id") == "bad"


async def test_events_of_a_former_owner_become_no_rows(sink: Sink) -> None:
    await sink.append([a_marker()])
    zombie = msgspec.structs.replace(a_history("t1")[0], owner="zombie", owner_epoch=0)
    await sink.publisher.publish([event_record(sink.parts.topics, 0, zombie, {})])
    await sink.commit(2)
    await Projector(0, sink.parts).open()

    assert await sink.statuses("t1") == []


@pytest.mark.parametrize("next_offset", [5, 1_000])
async def test_a_sink_whose_database_belongs_to_another_log_stops(
    sink: Sink, next_offset: int
) -> None:
    await sink.append([a_marker(), *a_history("t1")])
    elsewhere = Position(next_offset=next_offset, epoch=1, owner="x")
    await sink.parts.writer.write(0, None, [], elsewhere)

    with pytest.raises(SinkPositionError, match="goes from 0 to 2"):
        await Projector(0, sink.parts).open()


async def test_a_log_that_was_made_again_and_is_as_long_stops_the_sink(sink: Sink) -> None:
    await sink.append([a_marker(), *a_history("t1")])
    before = Position(next_offset=2, epoch=1, owner="the-owner-of-the-former-log")
    await sink.parts.writer.write(0, None, [], before)

    with pytest.raises(SinkPositionError, match="which others wrote: the topic was made again"):
        await Projector(0, sink.parts).open()


async def test_a_log_whose_events_before_the_position_are_gone_stops_no_sink(sink: Sink) -> None:
    await sink.publisher.publish(
        [Outgoing(topic=sink.parts.topics.task_events, partition=0, key=None, value=b"garbage")]
    )
    before = Position(next_offset=1, epoch=1, owner="an-owner")
    await sink.parts.writer.write(0, None, [], before)

    await Projector(0, sink.parts).open()


async def until_written(sink: Sink, *ids: str) -> None:
    async with asyncio.timeout(WAIT_S):
        while len(await sink.statuses(*ids)) < len(ids):  # noqa: ASYNC110  # another's doing
            await asyncio.sleep(0.02)


async def test_a_running_sink_whose_position_is_moved_goes_on_where_it_was_put(
    sink: Sink,
) -> None:
    await sink.append([a_marker(), *a_history("t1")])
    async with running(sink) as app:
        await until_written(sink, "t1")
        # As a restored backup does: the rows after it are gone, and so is the position.
        await sink.execute(
            "UPDATE ai_orchestrator.sink_offsets SET next_offset = 0, epoch = 0, owner = '';"
            "DELETE FROM ai_orchestrator.tasks"
        )
        await sink.append(a_history("t2"))
        await until_written(sink, "t1", "t2")

        assert not app.failed.is_set()


async def test_a_sink_without_new_events_notices_that_its_position_was_moved(sink: Sink) -> None:
    await sink.append([a_marker(), *a_history("t1")])
    async with running(sink):
        await until_written(sink, "t1")
        await sink.execute(
            "UPDATE ai_orchestrator.sink_offsets SET next_offset = 0, epoch = 0, owner = '';"
            "DELETE FROM ai_orchestrator.tasks"
        )
        await until_written(sink, "t1")


async def test_a_running_sink_makes_the_next_months_itself(sink: Sink) -> None:
    months = (
        "SELECT to_regclass('ai_orchestrator.tasks' || to_char("
        "now() AT TIME ZONE 'UTC' + interval '2 months', '\"_y\"FMYYYY\"m\"MM'))"
    )
    [[ahead]] = await sink.fetch(months)
    await sink.execute(f"DROP TABLE {ahead}")
    projector = Projector(0, sink.parts)
    await projector.open()
    assert projector.wakeup_s() == 0.0
    await projector.handle([])

    assert [row[0] for row in await sink.fetch(months)] == [ahead]
    assert (projector.wakeup_s() or 0) > 0


async def test_a_running_sink_dead_letters_the_row_that_postgres_refuses_and_goes_on(
    sink: Sink,
) -> None:
    bad = msgspec.structs.replace(a_history("bad")[0], priority=11)
    async with running(sink) as app:
        await sink.append([a_marker(), *a_history("t1"), bad, *a_history("t2")])
        await until_written(sink, "t1", "t2")

        assert not app.failed.is_set()
    topic = dlq(sink.parts.topics.task_events)
    async with LogReader(sink.parts.kafka, client_id="t") as reader:
        [letter] = [r async for batch in reader.read(topic, 0, 0, 1) for r in batch]
    assert header_text(letter.headers, "__dlq.errors.code") == "ROW_REFUSED"
    assert header_text(letter.headers, "__dlq.errors.offset") == "2"
    assert letter.key == b"bad"
    assert await sink.statuses("bad") == []


LOGGED = ("postgres_refuses_all", "postgres_takes_rows")


async def until_logged(lines: Sequence[Mapping[str, object]], event: str) -> None:
    async with asyncio.timeout(WAIT_S):
        while not any(line["event"] == event for line in lines):  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.02)


async def test_a_column_that_refuses_every_row_makes_no_letters_and_is_waited_for(
    sink: Sink,
) -> None:
    column = "ai_orchestrator.tasks ADD COLUMN cost_centre text NOT NULL"
    await sink.execute(f"ALTER TABLE {column}")
    ids = [f"t{n}" for n in range(40)]
    with logged("sinks.waiting._log") as lines:
        async with running(sink) as app:
            await sink.append([a_marker(), *(e for i in ids for e in a_history(i))])
            await until_logged(lines, LOGGED[0])
            assert await sink.statuses(*ids) == []

            await sink.execute("ALTER TABLE ai_orchestrator.tasks DROP COLUMN cost_centre")
            await until_written(sink, *ids)
            await until_logged(lines, LOGGED[1])
            assert not app.failed.is_set()

    told = [line for line in lines if line["event"] in LOGGED]
    assert [line["event"] for line in told] == [*LOGGED]
    assert "cost_centre" in told[0]["reason"]
    async with LogReader(sink.parts.kafka, client_id="t") as reader:
        assert await reader.bounds(dlq(sink.parts.topics.task_events), 0) == (0, 0)


async def test_a_bad_row_in_a_table_that_refuses_all_is_a_letter_once_the_table_is_right(
    sink: Sink,
) -> None:
    await sink.execute(
        "ALTER TABLE ai_orchestrator.tasks ADD CONSTRAINT never CHECK (type = 'x') NOT VALID"
    )
    bad = msgspec.structs.replace(a_history("bad")[0], priority=11)
    await sink.append([a_marker(), *a_history("t1"), bad, *a_history("t2")])
    with logged("sinks.waiting._log") as lines:
        async with running(sink):
            await until_logged(lines, LOGGED[0])
            await sink.execute("ALTER TABLE ai_orchestrator.tasks DROP CONSTRAINT never")
            await until_written(sink, "t1", "t2")

    async with LogReader(sink.parts.kafka, client_id="t") as reader:
        topic = dlq(sink.parts.topics.task_events)
        letters = [r async for batch in reader.read(topic, 0, 0, 1) for r in batch]
    assert [header_text(letter.headers, "__dlq.task.id") for letter in letters] == ["bad"]


async def test_a_replay_into_a_table_that_refuses_all_says_that_nothing_is_known(
    sink: Sink,
) -> None:
    bad = msgspec.structs.replace(a_history("bad")[0], priority=11)
    await sink.append([a_marker(), *a_history("t1"), bad])
    await sink.commit(3)
    await Projector(0, sink.parts).open()
    ids = [TaskId("t1"), TaskId("bad")]
    rewriter = Rewriter(sink.postgres)
    await rewriter.open()
    async with LogReader(sink.parts.kafka, client_id="t") as reader:
        rows = LateRows(reader, sink.parts.topics, rewriter)
        await sink.execute("DELETE FROM ai_orchestrator.tasks")
        await sink.execute("ALTER TABLE ai_orchestrator.tasks ADD COLUMN who text NOT NULL")
        while_it_refuses = await rows.write(0, ids)
        await sink.execute("ALTER TABLE ai_orchestrator.tasks DROP COLUMN who")
        afterwards = await rows.write(0, ids)
    await rewriter.close()

    assert while_it_refuses is None
    assert afterwards == {"t1": None, "bad": "ROW_REFUSED"}
    assert await sink.statuses("t1") == ["pending"]
