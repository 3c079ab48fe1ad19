"""What a tenant reads about a service that cannot be called names no address and no path."""

import asyncio
import re
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from agents.services.client import StepClient
from agents.services.connection_faults import (
    LOG_INTERVAL_S,
    REFUSED,
    FaultLog,
    of_grpc_details,
    without_addresses,
)
from agents.services.failure import ServiceError
from agents.services.grpc_client import GrpcStepClient
from agents.services.http_client import HttpStepClient
from agents.services.service_tls import ServiceTls
from schemas.records import Error
from streams.tls import ClientTls
from tests.agents.services import test_grpc_client as over_grpc
from tests.agents.services import test_http_client as over_http
from tests.agents.services.secured import Files, server_context, server_credentials
from tests.agents.services.test_grpc_client import MAX_BYTES, a_request

INTERNAL = re.compile(r"127\.0\.0\.1|10\.1\.2\.3|\.internal|localhost|ipv4|/srv|://|:\d{2,5}")

over_both = pytest.mark.parametrize("scheme", ["grpc", "http"])


def client_of(address: str, files: Files | None = None) -> StepClient:
    tls = ServiceTls(ClientTls(ca_file=files.ca)) if files else None
    if address.startswith("grpc"):
        target = address.partition("://")[2]
        return GrpcStepClient(target, service="poet", max_message_bytes=MAX_BYTES, tls=tls)
    return HttpStepClient(address, service="poet", max_message_bytes=MAX_BYTES, tls=tls)


async def told(address: str, files: Files | None = None) -> tuple[Error, list[Any]]:
    """What the tenant reads, and the lines of our own log."""
    client = client_of(address, files)
    with capture_logs() as lines, pytest.raises(ServiceError) as raised:
        await client.call(a_request())
    await client.close()
    return raised.value.as_record(), [
        line for line in lines if line["event"] == "service_call_failed"
    ]


def check(error: Error, said: str, code: str = "SERVICE_UNAVAILABLE") -> None:
    assert (error.code, error.message) == (code, f"poet: {said}")
    assert not INTERNAL.search(error.message)


@over_both
async def test_a_name_that_cannot_be_resolved(scheme: str) -> None:
    error, [line] = await told(f"{scheme}://no-such-host.internal:4711")

    check(error, "its name cannot be resolved")
    assert line["address"] == f"{scheme}://no-such-host.internal:4711"


@over_both
async def test_a_connection_that_is_refused(scheme: str) -> None:
    error, [line] = await told(f"{scheme}://127.0.0.1:1")

    check(error, "it refuses connections")
    assert (line["address"], line["code"]) == (f"{scheme}://127.0.0.1:1", error.code)


@over_both
async def test_a_connection_that_breaks(scheme: str) -> None:
    async def drops(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(drops, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    error, _ = await told(f"{scheme}://127.0.0.1:{port}")
    server.close()

    check(error, "the connection broke")


@over_both
async def test_an_answer_of_another_protocol(scheme: str) -> None:
    async def greets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"220 mail.internal ESMTP ready, at 10.1.2.3\r\n\r\n" + b" " * 100)
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(greets, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    error, _ = await told(f"{scheme}://127.0.0.1:{port}")
    server.close()

    check(error, "what it sent is not the protocol of its address")


async def test_a_tls_failure_over_grpc(tmp_path: Path) -> None:
    files = Files(tmp_path)
    credentials = server_credentials(files.server("other.internal"))
    service = over_grpc.ScriptedService(over_grpc.answers)
    async with over_grpc.a_server(service, credentials=credentials) as port:
        error, [line] = await told(f"grpcs://127.0.0.1:{port}", files)

    check(error, "its certificate is for another host", "SERVICE_UNTRUSTED")
    assert line["address"] == f"grpcs://127.0.0.1:{port}"


async def test_a_tls_failure_over_http(tmp_path: Path) -> None:
    files = Files(tmp_path)
    context = server_context(files.server("other.internal"))
    service = over_http.ScriptedService(over_http.answers({"output": {}}))
    async with over_http.a_server(service, context=context) as url:
        error, [line] = await told(url, files)

    check(error, "its certificate is for another host", "SERVICE_UNTRUSTED")
    assert line["address"] == url.removesuffix("/run")


@pytest.mark.parametrize("status", list(grpc.StatusCode), ids=lambda status: status.name)
async def test_a_grpc_status_in_whose_text_a_proxy_names_what_is_behind_it(
    status: grpc.StatusCode,
) -> None:
    if status is grpc.StatusCode.OK:
        return
    text = "no answer of http://10.1.2.3:8000/srv/x, llm.internal:9000, ipv4:10.1.2.3:1"
    async with over_grpc.a_server(over_grpc.ScriptedService(over_grpc.fails(status, text))) as port:
        error, _ = await told(f"grpc://127.0.0.1:{port}")

    assert "no answer of [address]" in error.message
    assert not INTERNAL.search(error.message)


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 404, 500, 502, 503])
async def test_an_http_status_and_a_redirect(status: int) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        said = {"code": "UPSTREAM_FAILED", "message": "http://llm.internal:8000/srv/x is down"}
        return web.json_response(
            {"error": said}, status=status, headers={"Location": "http://10.1.2.3/srv"}
        )

    async with over_http.a_server(over_http.ScriptedService(answer)) as url:
        error, _ = await told(url)

    assert error.message == f"poet: HTTP {status} UPSTREAM_FAILED: [address] is down"


async def test_a_redirect_of_a_grpc_call() -> None:
    async def redirects(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://llm.internal/\r\n\r\n")
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(redirects, "127.0.0.1", 0)
    error, _ = await told(f"grpc://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    server.close()

    check(error, "what it sent is not the protocol of its address")


@pytest.mark.parametrize(
    "text",
    [
        "the query is empty",
        "field /input/query is missing",
        "at most 10.5 of 12 pages, in 1:30 h",
        "model gpt-4.1: too long",
        "SPEECH_NOT_FOUND: nothing was said",
    ],
)
def test_words_without_an_address_stay_as_they_are(text: str) -> None:
    assert without_addresses(text) == text
    assert of_grpc_details(text, tls=True) is None


@given(st.ip_addresses(), st.integers(1, 65535), st.text(max_size=20))
def test_an_ip_address_is_never_kept(address: Any, port: int, around: str) -> None:
    written = f"[{address}]" if address.version == 6 else str(address)
    for text in (f"{around} {written}:{port} {around}", f"at {written}, {around}"):
        assert written not in without_addresses(text).replace(around, "")


def test_a_cause_that_lasts_is_logged_once_a_minute() -> None:
    now = [0.0]
    faults = FaultLog("poet", "grpc://poet:1", clock=lambda: now[0])
    with capture_logs() as lines:
        for now[0] in (0.0, 1.0, LOG_INTERVAL_S - 1, LOG_INTERVAL_S):
            faults.tell(REFUSED, "a reason")

    assert len(lines) == 2
