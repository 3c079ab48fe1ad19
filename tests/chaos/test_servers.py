"""Kafka and Postgres die and come back: nothing is lost, and Postgres is never in the way."""

import asyncio

import pytest

from tests.chaos.chaos import Chaos

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]


async def test_tasks_go_on_while_postgres_is_away_and_are_all_written_afterwards(
    chaos: Chaos,
) -> None:
    async with chaos.load("postgres") as load:
        for _ in range(chaos.form.twice):
            await chaos.enough(load)
            written, ended = await chaos.written(), len(chaos.watch.ended)
            await chaos.postgres.kill()
            try:
                # As many as were in flight end while their rows cannot be written.
                await chaos.watch.until(
                    lambda ended=ended: len(chaos.watch.ended) >= ended + chaos.form.in_flight,  # type: ignore[misc]
                    timeout_s=120,
                )
            finally:
                await chaos.postgres.start()
            assert await chaos.written() >= written
    await chaos.check(load)


async def test_tasks_survive_the_crash_of_the_broker(chaos: Chaos) -> None:
    async with chaos.load("broker") as load:
        for _ in range(chaos.form.twice):
            in_flight = await chaos.enough(load)
            begun = len(chaos.running.calls())
            await chaos.kafka.kill()
            try:
                await asyncio.sleep(2 * load.draw())
            finally:
                await chaos.kafka.start()
            assert in_flight >= chaos.form.in_flight
            await chaos.running.until(
                lambda begun=begun: len(chaos.running.calls()) > begun,  # type: ignore[misc]
                timeout_s=120,
            )
    await chaos.check(load)
