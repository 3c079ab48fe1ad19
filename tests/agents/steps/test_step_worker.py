"""What a step worker promises, against a real broker."""

import asyncio

from agents.services.client import StepResponse
from schemas.headers import header_text
from schemas.limits import Limits
from schemas.records import ControlKind, Json, Lane, Millis, ResultKind, Usage
from schemas.topics import dlq
from streams.kafka.publisher import Outgoing
from tests.agents.steps.working import STEP, Service, Site, a_command, a_worker, assigned, now
from tests.streams.building import until


async def test_a_cancel_aborts_the_call_that_runs(site: Site, service: Service) -> None:
    service.answers.clear()
    command = a_command()
    async with a_worker(site, service):
        await site.send(command)
        await until(lambda: service.called(command.task_id) == 1)
        await site.control(command.task_id)
        results = await site.results_of(1)
        await committed(site, 1)

    assert [task_id for task_id, _ in service.aborted] == [command.task_id]
    assert results[0].kind is ResultKind.CANCELLED
    assert results[0].error is not None
    assert results[0].error.code == "TASK_CANCELLED"


async def test_a_deadline_aborts_the_call_that_runs(site: Site, service: Service) -> None:
    service.answers.clear()
    command = a_command()
    async with a_worker(site, service):
        await site.send(command)
        await until(lambda: service.called(command.task_id) == 1)
        await site.control(command.task_id, ControlKind.DEADLINE)
        results = await site.results_of(1)

    assert len(service.aborted) == 1
    assert results[0].kind is ResultKind.CANCELLED
    assert results[0].error is not None
    assert results[0].error.code == "DEADLINE_EXCEEDED"


async def test_a_cancel_that_comes_before_its_command_is_remembered(
    site: Site, service: Service
) -> None:
    before, while_it_runs, other = a_command(), a_command(), a_command()
    await site.control(before.task_id)
    async with a_worker(site, service) as app:
        await assigned(app)
        await site.control(while_it_runs.task_id)
        # What is published later is seen later: the cancel has arrived when this one has.
        seen = a_command()
        service.answers.clear()
        await site.send(seen)
        await until(lambda: service.called(seen.task_id) == 1)
        await site.control(seen.task_id)
        await until(lambda: len(service.aborted) == 1)
        service.answers.set()
        await site.send(before, while_it_runs, other)
        results = {result.task_id: result.kind for result in await site.results_of(4)}

    assert results[before.task_id] is ResultKind.CANCELLED
    assert results[while_it_runs.task_id] is ResultKind.CANCELLED
    assert results[other.task_id] is ResultKind.SUCCEEDED
    assert {call.task_id for call in service.calls} == {seen.task_id, other.task_id}


async def test_a_later_run_of_a_cancelled_task_is_executed(site: Site, service: Service) -> None:
    command = a_command(run=2)
    await site.control(command.task_id)
    async with a_worker(site, service):
        await site.send(command)
        results = await site.results_of(1)

    assert results[0].kind is ResultKind.SUCCEEDED


async def test_a_second_copy_is_answered_without_a_second_call(
    site: Site, service: Service
) -> None:
    command = a_command()
    async with a_worker(site, service):
        await site.send(command)
        await site.results_of(1)
        await site.send(command, lane=Lane.HIGH)
        first, second = await site.results_of(2)
        await committed(site, 1, Lane.HIGH)

    assert len(service.calls) == 1
    assert first == second
    assert second.command_topic == site.topics.step(STEP, Lane.NORMAL)


async def test_a_second_copy_joins_the_call_that_runs(site: Site, service: Service) -> None:
    service.answers.clear()
    command, marker = a_command(), a_command(partition=0)
    async with a_worker(site, service):
        await site.send(command)
        await until(lambda: service.called(command.task_id) == 1)
        await site.send(command, marker, lane=Lane.HIGH)
        # The copy was read before the marker, which stands behind it.
        await until(lambda: service.called(marker.task_id) == 1)
        service.answers.set()
        await committed(site, 1)
        await committed(site, 2, Lane.HIGH)

    results = [result.task_id for result in await site.results()]
    assert results.count(command.task_id) == 1
    assert service.called(command.task_id) == 1


async def test_only_a_call_that_takes_longer_is_reported_as_started(
    site: Site, service: Service
) -> None:
    quick, slow = a_command(), a_command()
    async with a_worker(site, service, started_after_ms=2_000):
        await site.send(quick)
        await site.results_of(1)
    service.answers.clear()
    async with a_worker(site, service, started_after_ms=1):
        await site.send(slow)
        await until(lambda: service.called(slow.task_id) == 1)
        async with asyncio.timeout(30):
            while len(started := await started_of(site)) == 0:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    assert started == [slow.task_id]


async def test_a_cancellation_that_is_not_ours_fails_the_attempt_only(
    site: Site, service: Service
) -> None:
    service.raises = asyncio.CancelledError()
    command, next_one = a_command(partition=0), a_command(partition=0)
    async with a_worker(site, service) as app:
        await site.send(command)
        results = await site.results_of(1)
        service.raises = None
        await site.send(next_one)
        await site.results_of(2)
        await committed(site, 2)
        failed = app.failed.is_set()

    assert not failed
    assert results[0].kind is ResultKind.FAILED
    assert results[0].error is not None
    assert results[0].error.code == "SERVICE_ABORTED"
    assert results[0].error.retriable


async def test_whatever_a_client_raises_is_a_result(site: Site, service: Service) -> None:
    service.raises = RuntimeError("a fault \x00 with a \ud800 surrogate")
    async with a_worker(site, service):
        await site.send(a_command())
        results = await site.results_of(1)

    assert results[0].error is not None
    assert results[0].error.code == "INTERNAL"


async def test_a_command_whose_deadline_passed_is_not_called(site: Site, service: Service) -> None:
    async with a_worker(site, service):
        await site.send(a_command(deadline_at=Millis(now() - 1)))
        results = await site.results_of(1)

    assert service.calls == []
    assert results[0].error is not None
    assert results[0].error.code == "DEADLINE_EXCEEDED"


async def test_what_is_no_command_is_a_dead_letter_and_the_next_one_runs(
    site: Site, service: Service
) -> None:
    topic = site.topics.step(STEP, Lane.NORMAL)
    await site.publisher.publish([Outgoing(topic=topic, partition=0, key=b"k", value=b"junk")])
    async with a_worker(site, service):
        await site.send(a_command(partition=0))
        await site.results_of(1)
        await committed(site, 2)

    letters = await site.records(dlq(topic))
    assert [letter.value for letter in letters] == [b"junk"]
    assert header_text(letters[0].headers, "__dlq.errors.code") == "MAGIC_UNKNOWN"


async def committed(site: Site, count: int, lane: Lane = Lane.NORMAL) -> None:
    """Wait until so many commands of a lane are committed."""
    async with asyncio.timeout(30):
        while await site.committed(lane) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def started_of(site: Site) -> list[str]:
    """The tasks of which a start was reported."""
    records = await site.records(site.topics.step_results)
    return [
        header_text(record.headers, "ce_subject") or ""
        for record in records
        if (header_text(record.headers, "ce_type") or "").endswith("started")
    ]


async def test_an_answer_that_is_too_large_was_paid_for_and_its_usage_is_reported(
    site: Site, service: Service
) -> None:
    usage = Usage(model="m", input_tokens=5, output_tokens=7, cost_micros=9)
    large = Json('"' + "x" * Limits().step_output_max_bytes + '"')
    service.response = StepResponse(output=large, usage=usage)
    async with a_worker(site, service):
        await site.send(a_command())
        results = await site.results_of(1)

    assert results[0].error is not None
    assert results[0].error.code == "OUTPUT_TOO_LARGE"
    assert results[0].usage == usage
