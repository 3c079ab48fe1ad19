"""What still arrives of a body after its answer is read at one rate, all connections together."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from orchestrator.api.http.protocol import BoundedProtocol, bounded_protocol
from orchestrator.api.limits.late_bodies import LateBodies
from orchestrator.api.limits.settings import ApiLimitsSettings

PARTS = st.lists(st.tuples(st.floats(0, 2), st.integers(1, 300_000)), min_size=1, max_size=50)
PART = b"x" * 256 * 1024
WAIT_S = 20.0


@given(PARTS)
def test_a_part_is_followed_by_the_time_that_it_takes_at_the_rate(
    parts: list[tuple[float, int]],
) -> None:
    late, now_s, ends = LateBodies(100_000), 50.0, [0.0]
    for after_s, size in parts:
        now_s += after_s
        pause_s = late.pause_s(size, now_s)
        assert pause_s >= size / 100_000 * (1 - 1e-6)
        ends.append(now_s + pause_s)
    for (before, end), (_, size) in zip(pairwise(ends), parts, strict=True):
        assert end - before >= size / 100_000 - 1e-6


async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers every request before its body has arrived."""
    await send(
        {"type": "http.response.start", "status": 429, "headers": [(b"content-length", b"0")]}
    )
    await send({"type": "http.response.body", "body": b""})


async def test_a_connection_is_not_read_for_a_moment_after_each_part_of_a_late_body() -> None:
    made: list[BoundedProtocol] = []
    config = uvicorn.Config(refusing, log_config=None)
    config.load()
    kind = bounded_protocol(ApiLimitsSettings())

    def protocol() -> BoundedProtocol:
        made.append(kind(config=config, server_state=ServerState(), app_state={}))
        return made[-1]

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    async with server, asyncio.timeout(WAIT_S):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        size = 4 * len(PART)
        head = f"POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {size}\r\n\r\n"
        writer.write(head.encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 429")
        [connection] = made
        for _ in range(4):
            writer.write(PART)
            while connection.transport.is_reading():  # noqa: ASYNC110  # no event says it
                await asyncio.sleep(0)
            while not connection.transport.is_reading():  # noqa: ASYNC110
                await asyncio.sleep(0)
        writer.write(head.encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 429")
        writer.close()
