"""The step server against bytes that no worker sends, and its copy of the contract."""

import asyncio
import json
from importlib.resources import files

import pytest

from ai_orchestrator import Steps, serving
from schemas.gen.services.v1 import step_service_pb2

HEAD = b"POST / HTTP/1.1\r\nhost: x\r\n"


def a_service() -> Steps:
    steps = Steps()
    steps.step("echo")(lambda given: given)
    steps.step("hang")(asyncio.Event().wait)
    return steps


async def sent(request: bytes) -> bytes:
    """What a service answers until it closes the connection."""
    async with serving(a_service) as address, asyncio.timeout(10):
        host, _, port = address.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request)
        writer.write_eof() if request.endswith(b"EOF") else None
        answer = await reader.read()
        writer.close()
        return answer


def test_the_messages_over_grpc_are_those_of_the_contract() -> None:
    kept = (files("ai_orchestrator.steps") / "contract.binpb").read_bytes()

    assert kept == step_service_pb2.DESCRIPTOR.serialized_pb


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"no JSON", 400, "REQUEST_INVALID"),
        (b'{"input": {}}', 400, "REQUEST_INVALID"),
        (b'{"method": "echo", "input": ' + b"[" * 100_000, 400, "REQUEST_INVALID"),
        (b'{"method": "\\u0000", "input": 1}', 405, "METHOD_UNKNOWN"),
        (b" " * (2 * 1024 * 1024 + 1), 413, "REQUEST_TOO_LARGE"),
    ],
    ids=["no JSON", "no method", "too deep", "unknown", "too large"],
)
async def test_a_wrong_request_is_answered_with_a_code(body: bytes, status: int, code: str) -> None:
    length = b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
    head, _, content = (await sent(HEAD + length + body)).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert json.loads(content)["error"]["code"] == code


@pytest.mark.parametrize(
    "text",
    [b"\x16\x03\x01" * 30 + b"\r\n\r\n", HEAD + b"content-length: 9\r\n\r\nEOF"],
    ids=["TLS", "cut"],
)
async def test_bytes_that_are_no_whole_request_end_the_connection(text: bytes) -> None:
    assert await sent(text) == b""


async def test_a_step_that_is_late_is_ended_though_its_caller_still_waits() -> None:
    body = b'{"method": "hang", "input": 1}'
    head = HEAD + b"x-timeout-ms: 100\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"

    assert (await sent(head % len(body) + body)).startswith(b"HTTP/1.1 504 ")


async def test_the_key_of_a_call_is_repeated_byte_for_byte() -> None:
    body = b'{"method": "echo", "input": 1}'
    head = HEAD + b"idempotency-key: k\xff\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
    answer = await sent(head % len(body) + body)

    assert b"\r\nidempotency-key: k\xff\r\n" in answer
    assert answer.endswith(b'\r\n\r\n{"output":1}')


async def test_a_check_of_the_health_is_answered_without_a_step() -> None:
    answer = await sent(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 204 ")
