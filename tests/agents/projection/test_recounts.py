"""Counts after a rebuild: nothing is counted twice, and nothing that the log holds is lost."""

import json

from agents.projection.rebuild import rebuild, verify
from tests.agents.projection.projecting import Sink
from tests.agents.projection.test_rebuild import cut, project, written

__all__ = ["written"]

COUNTS = """
SELECT metric, labels::text, bucket, events, total::text
FROM ai_orchestrator.metric_counts ORDER BY 1, 2, 3
"""


async def counts(sink: Sink) -> list[tuple[object, ...]]:
    return [tuple(row) for row in await sink.fetch(COUNTS)]


async def tasks(sink: Sink) -> dict[str, int]:
    """Counted tasks by status."""
    rows = await sink.fetch(
        "SELECT labels ->> 'status', events FROM ai_orchestrator.metric_counts"
        " WHERE metric = 'orchestrator_tasks_total'"
    )
    return {row[0]: row[1] for row in rows}


async def test_a_rebuild_of_right_counts_changes_none(written: Sink) -> None:
    before = await counts(written)
    await rebuild(written.rebuilding)
    found = await verify(written.rebuilding)

    assert await counts(written) == before != []
    assert (found.differences, found.counted) == (0, 1)


async def test_verify_finds_a_wrong_count_and_a_rebuild_mends_it(written: Sink) -> None:
    before = await counts(written)
    await written.execute(
        "UPDATE ai_orchestrator.metric_counts SET events = events + 1"
        " WHERE metric = 'orchestrator_tasks_total' AND labels ->> 'status' = 'failed'"
    )
    wrong = await verify(written.rebuilding)
    await rebuild(written.rebuilding)

    (difference,) = wrong.listed
    assert (difference.kind, difference.what) == ("count", "differs")
    partition, metric, labels, bucket = difference.place.split("/")
    assert (partition, metric, bucket) == ("0", "orchestrator_tasks_total", "0")
    assert json.loads(labels) == {"type": "rag", "status": "failed"}
    assert await counts(written) == before


async def test_a_rebuild_after_dropping_the_schema_counts_the_log_once(written: Sink) -> None:
    before = await counts(written)
    await written.execute("DROP SCHEMA ai_orchestrator CASCADE")
    await rebuild(written.rebuilding)
    after = await counts(written)
    await project(written)

    assert after == before
    assert await counts(written) == before
    assert (await verify(written.rebuilding)).counted == 1


async def test_names_of_tenants_and_models_are_no_difference(written: Sink) -> None:
    await written.execute(
        'UPDATE ai_orchestrator.metric_counts SET labels = labels || \'{"tenant_id": "other"}\''
        " WHERE labels ? 'tenant_id'"
    )

    assert (await verify(written.rebuilding)).differences == 0


async def test_a_rebuild_from_a_cut_log_keeps_what_was_counted(written: Sink) -> None:
    before = await counts(written)
    await cut(written, before=5)
    await rebuild(written.rebuilding)
    found = await verify(written.rebuilding)

    assert await counts(written) == before
    assert (found.differences, found.counted) == (0, 0)


async def test_a_sink_that_goes_back_to_the_beginning_of_a_cut_log_counts_the_rest(
    written: Sink,
) -> None:
    before = await tasks(written)
    # Written up to the third record; then the log loses its first five.
    await written.execute("TRUNCATE ai_orchestrator.metric_counts")
    await written.execute("UPDATE ai_orchestrator.sink_offsets SET next_offset = 3")
    await cut(written, before=5)
    await rebuild(written.rebuilding)
    kept = await tasks(written)
    await project(written)
    after = await tasks(written)
    await rebuild(written.rebuilding)

    assert kept == {}
    assert after["completed"] == before["completed"]
    assert after["pending"] == before["pending"] - 4
    assert await tasks(written) == after


async def test_a_log_that_is_another_one_is_counted_beside_the_former(written: Sink) -> None:
    before = await tasks(written)
    await written.execute("UPDATE ai_orchestrator.sink_offsets SET next_offset = 100000")
    await rebuild(written.rebuilding)
    after = await tasks(written)
    found = await verify(written.rebuilding)

    assert after == {status: 2 * events for status, events in before.items()}
    assert (found.differences, found.counted) == (0, 0)


async def test_rows_that_were_written_without_counts_are_not_compared(written: Sink) -> None:
    await written.execute("TRUNCATE ai_orchestrator.metric_counts")
    await written.execute("UPDATE ai_orchestrator.sink_offsets SET counted_from = NULL")
    await rebuild(written.rebuilding)
    found = await verify(written.rebuilding)

    assert await counts(written) == []
    assert (found.differences, found.counted) == (0, 0)
