"""The checks of `orchestrator doctor` run side by side, and only a slow one is named."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from orchestrator import checks
from orchestrator.checks import Check, Server, examine
from orchestrator.settings import Settings, load_settings
from schemas.findings import Finding, Severity
from streams.errors import KafkaUnavailableError
from tasks.pipeline import Pipelines

PIPELINES = Pipelines([])
Work = Callable[[], Awaitable[object]]


def a_check(about: str, work: Work, server: Server = Server.KAFKA) -> Check:
    async def run(_settings: Settings, _pipelines: Pipelines) -> Sequence[Finding]:
        await work()
        return []

    return Check(server, about, "good", run)


async def nothing() -> None: ...


def settings() -> Settings:
    servers = {"ORCH_KAFKA_BOOTSTRAP": "127.0.0.1:1", "ORCH_POSTGRES_DSN": "postgresql://x"}
    return load_settings(servers)


async def test_checks_run_at_the_same_time_and_are_printed_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kafka, servers = asyncio.Barrier(2), asyncio.Barrier(2)
    table = (
        a_check("first", servers.wait),
        a_check("second", kafka.wait),
        a_check("third", kafka.wait),
        a_check("postgres", servers.wait, Server.POSTGRES),
    )
    monkeypatch.setattr(checks, "CHECKS", table)
    async with asyncio.timeout(10):
        found = await examine(settings(), PIPELINES)

    assert [one.about for one in found] == ["first", "second", "third", "postgres"]


async def test_only_a_check_that_takes_long_itself_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    named: list[str] = []
    is_named = asyncio.Event()

    def name(check: Check) -> None:
        named.append(check.about)
        is_named.set()

    table = (
        a_check("slow", is_named.wait),
        a_check("quick", nothing),
        a_check("postgres", nothing, Server.POSTGRES),
    )
    monkeypatch.setattr(checks, "CHECKS", table)
    async with asyncio.timeout(10):
        await examine(settings(), PIPELINES, on_slow=name, slow_s=0.05)

    assert named == ["slow"]


async def test_a_server_that_ends_during_the_checks_is_one_finding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def down() -> None:
        raise KafkaUnavailableError("no broker answers")

    table = (
        a_check("first", nothing),
        a_check("second", down),
        a_check("third", down),
        a_check("postgres", nothing, Server.POSTGRES),
    )
    monkeypatch.setattr(checks, "CHECKS", table)
    found = await examine(settings(), PIPELINES)

    assert [(one.about, one.severity) for one in found] == [
        ("first", Severity.OK),
        ("second", Severity.FATAL),
        ("postgres", Severity.OK),
    ]
