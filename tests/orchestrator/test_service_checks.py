"""An address may by now belong to another program: what it answers is one finding, in time."""

import asyncio
import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from agents.services.settings import ServicesSettings
from orchestrator.monitoring.settings import MetricsSettings
from orchestrator.pipelines import installed_pipelines
from orchestrator.service_checks import check_processes, check_services
from orchestrator.settings import Settings
from schemas.findings import Finding

FUNCTION = "python://builtins:print"
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\n\r\n"


def a_target(folder: Path, text: str) -> Settings:
    (folder / "router.json").write_text(text)
    return Settings(metrics=MetricsSettings(targets_dir=folder))


async def said_about(folder: Path, answer: bytes, *, endless: bool = False) -> str:
    """What is found about a process at whose address a program answers this."""

    async def served(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        while endless and not writer.is_closing():
            writer.write(b" ")
            await asyncio.sleep(0.1)
        writer.close()

    async with await asyncio.start_server(served, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        group = {"targets": [f"127.0.0.1:{port}"], "labels": {"process": "router.1"}}
        settings = a_target(folder, json.dumps([group]))
        found = await check_processes(settings, installed_pipelines(settings.pipelines))
    return "; ".join(f"{one.about} {one.what}" for one in found)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"null",
        b"\xff",
        b'{"parts": "kafka"}',
        b'{"parts": {"kafka": 1}}',
        pytest.param(b"[" * 60_000, id="deep"),
        pytest.param(b" " * 1_000_000, id="long"),
        b"",
    ],
)
async def test_a_stranger_at_the_address_of_a_process_is_a_process_that_does_not_answer(
    tmp_path: Path, body: bytes
) -> None:
    found = await said_about(tmp_path, UNAVAILABLE + body)

    assert found.startswith("router.1 not ready: process: it does not answer at 127.0.0.1:")


async def test_a_refusal_without_a_reason_is_not_readiness(tmp_path: Path) -> None:
    assert "answers with 503" in await said_about(tmp_path, UNAVAILABLE + b'{"parts": {}}')


async def test_an_answer_without_an_end_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.service_checks._ANSWER_S", 0.5)
    async with asyncio.timeout(10):
        found = await said_about(tmp_path, UNAVAILABLE, endless=True)

    assert "TimeoutError" in found


@pytest.mark.parametrize(
    "text",
    ["", "{}", pytest.param("[" * 100_000, id="deep"), '[{"targets": [1]}]', '["x"]', "\x00"],
)
async def test_a_file_that_is_no_target_is_left_out(tmp_path: Path, text: str) -> None:
    settings = a_target(tmp_path, text)

    [found] = await check_processes(settings, installed_pipelines(settings.pipelines))
    assert found.what == f"no process was asked whether it is ready: no process is in {tmp_path}"


async def test_an_address_that_is_none_is_a_service_that_accepts_no_connection() -> None:
    found = await services_found(retrieval="http://[::1")

    assert (found[0].about, "ValueError" in found[0].what) == ("retrieval", True)


async def test_a_service_one_of_whose_instances_accepts_connections_is_no_finding() -> None:
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as server:
        there = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            away = f"127.0.0.1:{held.getsockname()[1]}"
            functions = {"agent_engine": FUNCTION, "voice_engine": FUNCTION}

            assert await services_found(retrieval=f"grpc://{away}|{there}", **functions) == []
            [found] = await services_found(retrieval=f"dns+grpc://{away}", **functions)

    assert (found.about, "ConnectionRefusedError" in found.what) == ("retrieval", True)


async def test_services_that_nobody_set_and_that_do_not_run_are_one_finding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A system of somebody else may listen at the defaults of this machine.
    async def refused(*_: object) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr("asyncio.open_connection", refused)
    first, *none = await services_found(retrieval=FUNCTION, agent_engine="grpc://127.0.0.1:9003")

    assert (first.about, none) == ("services", [])
    assert "agent_engine (grpc://127.0.0.1:9003), voice_engine (grpc" in first.what
    assert "rag_engine" not in first.what
    assert "set ORCH_SERVICES_AGENT_ENGINE, ORCH_SERVICES_VOICE_ENGINE" in first.fix


async def services_found(**addresses: str) -> list[Finding]:
    """What is found about three of the services; the two others are functions."""
    services = ServicesSettings(rag_engine=FUNCTION, multimodal_engine=FUNCTION)
    settings = Settings(services=replace(services, **addresses))  # type: ignore[arg-type]
    return await check_services(settings, installed_pipelines(settings.pipelines))
