"""A service that fails, or refuses calls as too many: commands wait, on a real broker."""

from __future__ import annotations

import asyncio
import time

from prometheus_client import Counter, Gauge

from agents.services.failure import OVERLOADED, TIMED_OUT, UNAVAILABLE, ServiceError
from agents.steps.gate.breaker import BreakerSettings
from agents.steps.gate.retry_budget import RetryBudgetSettings
from schemas.records import ResultKind, StepCommand
from streams import metrics
from tests.agents.steps.working import SERVICE, STEP, Service, Site, a_command, a_worker
from tests.streams.building import until

QUICK = BreakerSettings(calls_min=4, open_s=0.2, open_max_s=0.4)
AWAY = ServiceError(UNAVAILABLE, "no", service=SERVICE)
CALLS_AT_ONCE = 4


def too_many(retry_after_ms: int | None = None) -> ServiceError:
    return ServiceError(OVERLOADED, "no", service=SERVICE, retry_after_ms=retry_after_ms)


def commands(count: int, *, attempt: int = 1) -> list[StepCommand]:
    return [a_command(attempt=attempt, max_attempts=4) for _ in range(count)]


def value_of(metric: Gauge | Counter) -> float:
    return float(metric.labels(SERVICE)._value.get())


async def test_while_a_service_is_away_only_probes_and_calls_in_flight_are_spent(
    site: Site, service: Service
) -> None:
    sent = commands(60)
    service.raises = AWAY
    async with a_worker(site, service, breaker=QUICK, slots=CALLS_AT_ONCE):
        await site.send(*sent)
        await until(lambda: value_of(metrics.BREAKER_OPEN) == 1)
        # Six times: three of them come after the longest pause.
        spent = len(service.calls)
        await until(lambda: len(service.calls) >= spent + 6)
        service.raises = None
        results = await site.results_of(60)

    failed = [result for result in results if result.kind is ResultKind.FAILED]
    assert len(failed) == len(service.calls) - (60 - len(failed))
    assert len(failed) <= QUICK.calls_min + CALLS_AT_ONCE + 6 + QUICK.probes
    assert {result.command_id for result in results} == {c.command_id for c in sent}
    assert value_of(metrics.BREAKER_OPEN) == 0


async def test_no_probe_of_a_last_attempt_becomes_a_dead_letter(
    site: Site, service: Service
) -> None:
    first, last = commands(QUICK.calls_min), commands(10, attempt=4)
    service.raises = AWAY
    async with a_worker(site, service, breaker=QUICK, slots=CALLS_AT_ONCE):
        await site.send(*first)
        await site.results_of(QUICK.calls_min)
        await site.send(*last)
        await until(lambda: len(service.calls) >= QUICK.calls_min + 5)
        service.raises = None
        results = await site.results_of(QUICK.calls_min + 10)

    kinds = {result.command_id: result.kind for result in results}
    assert {kinds[command.command_id] for command in last} == {ResultKind.SUCCEEDED}


async def test_a_throttled_call_is_made_again_and_costs_no_attempt(
    site: Site, service: Service
) -> None:
    sent, before = commands(20, attempt=4), value_of(metrics.THROTTLED_CALLS)
    others = value_of(metrics.SERVICE_CALLS_MAX)
    service.raises = too_many()
    async with a_worker(site, service, slots=8):
        await site.send(*sent)
        await until(lambda: value_of(metrics.SERVICE_CALLS_MAX) == others + 1)
        service.raises = None
        results = await site.results_of(20)

    assert [result.kind for result in results] == [ResultKind.SUCCEEDED] * 20
    assert {r.command_id: r.attempt for r in results} == {c.command_id: 4 for c in sent}
    assert len(service.calls) - 20 == value_of(metrics.THROTTLED_CALLS) - before > 0


async def test_the_time_that_a_throttled_service_gives_is_kept(
    site: Site, service: Service
) -> None:
    [command] = commands(1)
    service.raises = too_many(retry_after_ms=700)
    async with a_worker(site, service):
        await site.send(command)
        await until(lambda: len(service.calls) == 1)
        began_s = time.monotonic()
        service.raises = None
        [result] = await site.results_of(1)

    assert (result.kind, len(service.calls)) == (ResultKind.SUCCEEDED, 2)
    # It was looked at a moment after the call.
    assert time.monotonic() - began_s > 0.6


async def test_a_throttled_command_ends_at_its_deadline(site: Site, service: Service) -> None:
    command = a_command(deadline_at=int(time.time() * 1000) + 3_000)
    service.raises = too_many(retry_after_ms=86_400_000)
    async with a_worker(site, service):
        await site.send(command)
        [result] = await site.results_of(1)

    assert result.error is not None
    assert (result.error.code, len(service.calls)) == ("DEADLINE_EXCEEDED", 1)


async def test_retries_above_the_budget_wait_and_first_attempts_go_on(
    site: Site, service: Service
) -> None:
    budget = RetryBudgetSettings(percent=0, per_minute_min=2)
    held = value_of(metrics.RETRIES_HELD)
    retries, first = commands(4, attempt=2), commands(5)
    async with a_worker(site, service, retry_budget=budget, slots=8):
        await site.send(*retries)
        await site.results_of(2)
        await site.send(*first)
        results = await site.results_of(7)
        assert len(service.calls) == 7

    called = {result.command_id for result in results}
    assert called >= {command.command_id for command in first}
    assert value_of(metrics.RETRIES_HELD) >= held + 2


async def test_short_deadlines_of_one_tenant_do_not_open_the_breaker_for_others(
    site: Site, service: Service
) -> None:
    late = int(time.time() * 1000) + 20_000
    hurried = [a_command(deadline_at=late, timeout_ms=30_000) for _ in range(8)]
    service.raises = ServiceError(TIMED_OUT, "no", service=SERVICE)
    async with a_worker(site, service, breaker=QUICK, slots=8):
        await site.send(*hurried)
        await site.results_of(8)
        service.raises = None
        [other] = commands(1)
        await site.send(other)
        results = await site.results_of(9)

    assert value_of(metrics.BREAKER_OPEN) == 0
    kinds = {result.command_id: result.kind for result in results}
    assert kinds.pop(other.command_id) is ResultKind.SUCCEEDED
    assert set(kinds.values()) == {ResultKind.FAILED}


async def test_a_worker_that_stops_gives_throttled_commands_back(
    site: Site, service: Service
) -> None:
    sent = commands(6)
    service.raises = too_many(retry_after_ms=600_000)
    async with asyncio.timeout(30):
        async with a_worker(site, service, grace_s=60.0):
            await site.send(*sent)
            await until(lambda: len(service.calls) >= 1)
    service.raises = None
    async with a_worker(site, service):
        results = await site.results_of(6)

    assert {result.command_id for result in results} == {c.command_id for c in sent}
    assert [result.step for result in results] == [STEP] * 6
