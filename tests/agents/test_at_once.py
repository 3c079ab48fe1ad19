"""Commands of a function in the worker: run on the spot, many in a row, published together."""

import pytest

from schemas.records import Lane, Millis, ResultKind
from schemas.topics import dlq
from streams.kafka.publisher import Outgoing
from tests.agents.steps.working import STEP, ServiceAtOnce, Site, a_command, a_worker, now
from tests.streams.building import until


@pytest.fixture
def service() -> ServiceAtOnce:
    """Counts its calls, and answers on the spot."""
    return ServiceAtOnce()


async def test_each_command_is_called_once_and_acknowledged(
    site: Site, service: ServiceAtOnce
) -> None:
    commands = [a_command() for _ in range(400)]
    async with a_worker(site, service, slots=2) as app:
        await site.send(*commands)
        results = await site.results_of(400)
        await until(lambda: not app.pending)

    assert [service.called(command.task_id) for command in commands] == [1] * 400
    assert {result.command_id for result in results} == {c.command_id for c in commands}
    assert {result.kind for result in results} == {ResultKind.SUCCEEDED}
    assert await site.committed() == 400


async def test_a_second_copy_is_answered_without_a_second_call(
    site: Site, service: ServiceAtOnce
) -> None:
    command = a_command()
    async with a_worker(site, service):
        await site.send(command, command)
        first, second = await site.results_of(2)

    assert len(service.calls) == 1
    assert first == second


async def test_what_was_cancelled_or_is_late_is_reported_and_not_called(
    site: Site, service: ServiceAtOnce
) -> None:
    cancelled, late, wanted = a_command(), a_command(deadline_at=Millis(now() - 1)), a_command()
    await site.control(cancelled.task_id)
    async with a_worker(site, service):
        await site.send(cancelled, late, wanted)
        codes = {r.task_id: r.error.code if r.error else None for r in await site.results_of(3)}

    assert codes == {
        cancelled.task_id: "TASK_CANCELLED",
        late.task_id: "DEADLINE_EXCEEDED",
        wanted.task_id: None,
    }
    assert [call.task_id for call in service.calls] == [wanted.task_id]


async def test_what_is_no_command_is_a_dead_letter_and_the_next_one_runs(
    site: Site, service: ServiceAtOnce
) -> None:
    topic = site.topics.step(STEP, Lane.NORMAL)
    await site.publisher.publish([Outgoing(topic=topic, partition=0, key=b"k", value=b"junk")])
    async with a_worker(site, service) as app:
        await site.send(a_command(partition=0))
        await site.results_of(1)
        await until(lambda: not app.pending)

    assert [letter.value for letter in await site.records(dlq(topic))] == [b"junk"]
    assert await site.committed() == 2


async def test_a_function_that_fails_for_good_is_paused_after_few_dead_letters(
    site: Site, service: ServiceAtOnce
) -> None:
    service.raises = TimeoutError()
    commands = [a_command(attempt=4, max_attempts=4) for _ in range(40)]
    async with a_worker(site, service):
        await site.send(*commands)
        # A window of ten, so six failures pause it; from then on there are probes only.
        await until(lambda: len(service.calls) > 6)
        failed = len(service.calls)
        service.raises = None
        results = await site.results_of(40)

    assert failed < 10
    assert {result.command_id for result in results} == {c.command_id for c in commands}
    assert len(service.calls) == 40
