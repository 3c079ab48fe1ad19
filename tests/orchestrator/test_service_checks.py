"""What doctor says about processes whose addresses are in the folder of targets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orchestrator.monitoring.target import target_text
from orchestrator.pipelines import installed_pipelines
from orchestrator.service_checks import check_processes
from orchestrator.settings import load_settings
from schemas.findings import Finding


@asynccontextmanager
async def a_process(folder: Path, status: str, body: str) -> AsyncIterator[None]:
    """A process that gives one answer to everything, with its target."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body.encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        (folder / "router.json").write_bytes(target_text(address, role="router", process="router"))
        yield


async def found(folder: Path) -> list[Finding]:
    settings = load_settings({"ORCH_METRICS_TARGETS_DIR": str(folder)})
    return await check_processes(settings, installed_pipelines(settings.pipelines))


async def test_a_process_that_is_ready_is_fine(tmp_path: Path) -> None:
    async with a_process(tmp_path, "200 OK", '{"status":"ok"}'):
        assert await found(tmp_path) == []


async def test_a_process_that_is_not_ready_is_named_with_its_reasons(tmp_path: Path) -> None:
    body = '{"status":"no","parts":{"group":"rebalancing"}}'
    async with a_process(tmp_path, "503 Service Unavailable", body):
        [finding] = await found(tmp_path)

    assert (finding.about, finding.what) == ("router", "not ready: group: rebalancing")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param("404 Not Found", "{}", id="without parts"),
        pytest.param("503 Service Unavailable", "[]", id="a list"),
        pytest.param("502 Bad Gateway", '{"parts":["group"]}', id="parts of another kind"),
        pytest.param("500 Internal Server Error", "oops", id="no JSON"),
    ],
)
async def test_an_answer_of_something_else_at_the_address_is_not_ready(
    tmp_path: Path, status: str, body: str
) -> None:
    async with a_process(tmp_path, status, body):
        [finding] = await found(tmp_path)

    assert "does not answer" in finding.what


async def test_a_file_that_is_no_target_is_left_out(tmp_path: Path) -> None:
    for name, text in {"half": "[{", "list": "[]", "other": '[{"targets": [1]}]'}.items():
        (tmp_path / f"{name}.json").write_text(text)

    assert await found(tmp_path) == []
