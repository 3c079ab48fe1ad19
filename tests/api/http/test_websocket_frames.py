"""Frames that no client should send: each ends its own socket, with a code and one log line."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import websockets

from tests.api.calling import KEYS, WAIT_S, Served

pytestmark = pytest.mark.asyncio(loop_scope="session")

MESSAGE_MAX = 64 * 1024


@asynccontextmanager
async def a_socket(served: Served) -> AsyncIterator[websockets.ClientConnection]:
    url = served.one.url.replace("http", "ws") + "/api/v1/ws"
    headers = {"Authorization": f"Bearer {KEYS['acme']}"}
    async with websockets.connect(url, additional_headers=headers) as socket:
        yield socket


async def close_code(socket: websockets.ClientConnection) -> int | None:
    async with asyncio.timeout(WAIT_S):
        await socket.wait_closed()
    return socket.close_code


@pytest.fixture
def log(served: Served) -> Callable[[], str]:
    """What the service has logged since the test began; before, servers were stopped."""
    path = served.running.logs / "serve.log"
    begin = path.stat().st_size
    return lambda: path.read_bytes()[begin:].decode("utf-8", "replace")


async def answers(served: Served) -> bool:
    """Whether another socket gets its answer: an error about a task that is not there."""
    async with a_socket(served) as socket, asyncio.timeout(WAIT_S):
        await socket.send(json.dumps({"action": "subscribe", "task_id": "task_none"}))
        return bool(json.loads(await socket.recv())["type"] == "error")


async def test_text_that_is_not_utf8_is_closed_with_1007_and_one_line(
    served: Served, log: Callable[[], str]
) -> None:
    async with a_socket(served) as socket:
        await socket.send(b'{"action": "\xff\xfe"}', text=True)
        assert await close_code(socket) == 1007

    assert log().count("websocket_text_invalid") == 1
    assert "Traceback" not in log()
    assert await answers(served)


async def test_text_that_is_broken_across_two_frames_is_closed_with_1007(
    served: Served, log: Callable[[], str]
) -> None:
    async with a_socket(served) as socket:
        await socket.send([b'{"action": "\xc3', b'("}'], text=True)
        assert await close_code(socket) == 1007

    assert "Traceback" not in log()


async def test_a_character_that_is_split_between_frames_is_read(served: Served) -> None:
    whole = json.dumps({"action": "subscribe", "task_id": "täsk"}, ensure_ascii=False).encode()
    at = whole.index(b"\xc3") + 1
    async with a_socket(served) as socket, asyncio.timeout(WAIT_S):
        await socket.send([whole[:at], whole[at:]], text=True)

        assert json.loads(await socket.recv())["problem"]["code"] == "ID_INVALID"


async def test_a_binary_frame_is_closed_with_1003(served: Served, log: Callable[[], str]) -> None:
    async with a_socket(served) as socket:
        await socket.send(b'{"action": "subscribe", "task_id": "t"}')
        assert await close_code(socket) == 1003

    assert "Traceback" not in log()


async def test_a_frame_that_is_too_large_is_closed_with_1009(
    served: Served, log: Callable[[], str]
) -> None:
    async with a_socket(served) as socket:
        await socket.send("x" * (MESSAGE_MAX + 1))
        assert await close_code(socket) == 1009

    assert "Traceback" not in log()


async def test_a_flood_of_pings_keeps_nobody_from_his_answer(served: Served) -> None:
    async with a_socket(served) as socket, asyncio.timeout(WAIT_S):
        pongs = [await socket.ping() for _ in range(3000)]
        assert await answers(served)
        await asyncio.gather(*pongs)
        await socket.send(json.dumps({"action": "subscribe", "task_id": "task_none"}))

        assert json.loads(await socket.recv())["type"] == "error"


@pytest.mark.parametrize("how", ["closed", "cut"])
async def test_a_socket_that_ends_in_the_middle_of_a_message_leaves_no_trace(
    served: Served, log: Callable[[], str], how: str
) -> None:
    async def half() -> AsyncIterator[str]:
        yield '{"action": '
        if how == "cut":
            socket.transport.abort()
        else:
            await socket.close()

    async with a_socket(served) as socket:
        with contextlib.suppress(websockets.ConnectionClosed):
            await socket.send(half())

    assert await answers(served)
    assert "Traceback" not in log()
