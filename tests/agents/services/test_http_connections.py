"""An answer belongs to its call: what an HTTP service may write, and who never reads it."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable

import pytest

from agents.services.client import StepRequest
from agents.services.failure import ServiceError
from agents.services.http_client import HttpStepClient
from schemas.records import TaskId
from tests.agents.services.raw_http import OK, Call, RawService, served
from tests.agents.services.test_grpc_client import MAX_BYTES, SOON_S, a_request


def of(task: str, *, timeout_s: float = SOON_S, text: str = "{}") -> StepRequest:
    request = a_request(text=text, timeout_s=timeout_s, key=f"{task}/1/generate/1")
    return StepRequest(
        **{name: getattr(request, name) for name in request.__dataclass_fields__}
        | {"task_id": TaskId(task)}
    )


async def outcome(client: HttpStepClient, task: str, **fields: float) -> str:
    """Whose answer came, or the code of the failure."""
    try:
        response = await client.call(of(task, **fields))  # type: ignore[arg-type]
    except ServiceError as error:
        return error.code
    return str(json.loads(response.output)["of"])


async def outcomes(answer: Callable[[Call], Awaitable[None]]) -> tuple[list[str], RawService]:
    """What three calls, one after the other, got."""
    async with served(answer) as (service, client):
        found = [await outcome(client, task) for task in ("t1", "t2", "t3")]
    return found, service


def first_writes(make: Callable[[Call], bytes]) -> Callable[[Call], Awaitable[None]]:
    """To the first call these bytes, to each other the right answer."""

    async def answer(call: Call) -> None:
        call.writer.write(make(call) if call.nth == 1 else call.answer)

    return answer


async def test_a_connection_on_which_all_went_well_is_used_again() -> None:
    found, service = await outcomes(first_writes(lambda call: call.answer))

    assert found == ["t1", "t2", "t3"]
    assert service.connections == 1


def chunked(call: Call, after: bytes) -> bytes:
    body = call.answer.split(b"\r\n\r\n")[1]
    pieces = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    return OK + b"transfer-encoding: chunked\r\n\r\n" + pieces + after


def both_lengths(call: Call) -> bytes:
    body = call.answer.split(b"\r\n\r\n")[1]
    head = OK + b"content-length: %d\r\ntransfer-encoding: chunked\r\n\r\n" % len(body)
    return head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda call: call.answer * 2, id="the answer twice"),
        pytest.param(lambda call: call.answer + b"\n\n{}", id="more bytes than its length"),
        pytest.param(lambda call: call.answer + b"\r\n", id="an empty line too many"),
        pytest.param(
            lambda call: call.answer + b"HTTP/1.1 100 Continue\r\n\r\n", id="an interim one behind"
        ),
        pytest.param(
            lambda call: b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3 + call.answer, id="interim ones"
        ),
        pytest.param(lambda call: chunked(call, call.answer), id="chunks, then an answer"),
        pytest.param(lambda call: chunked(call, b"0\r\n\r\n"), id="the last chunk twice"),
        pytest.param(both_lengths, id="a length and chunks"),
        pytest.param(
            lambda call: call.answer.replace(b"HTTP/1.1", b"HTTP/1.0"), id="HTTP/1.0 kept open"
        ),
        pytest.param(
            lambda call: call.answer.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"),
            id="said to close, and kept open",
        ),
    ],
)
async def test_an_answer_with_something_odd_about_it_is_the_last_of_its_connection(
    make: Callable[[Call], bytes],
) -> None:
    found, service = await outcomes(first_writes(make))

    assert found == ["t1", "t2", "t3"]
    assert [call.connection for call in service.calls] == [1, 2, 2]


@pytest.mark.parametrize(
    ("make", "code"),
    [
        pytest.param(
            lambda call: call.answer.replace(b"\r\n\r\n", b"\r\ncontent-length: 3\r\n\r\n"),
            "SERVICE_UNAVAILABLE",
            id="two lengths",
        ),
        pytest.param(
            lambda call: b"HTTP/1.1 204 No Content\r\ncontent-length: 99\r\n\r\n" + call.answer,
            "SERVICE_RESPONSE_INVALID",
            id="204 with a body",
        ),
        pytest.param(
            lambda call: b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
            "SERVICE_RESPONSE_INVALID",
            id="304 whose body does not come yet",
        ),
        pytest.param(
            lambda call: b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n" + call.answer,
            "SERVICE_UNAVAILABLE",
            id="another protocol",
        ),
        pytest.param(
            lambda call: b"HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\n{}" + call.answer,
            "SERVICE_FAILED",
            id="a failure and then an answer",
        ),
        pytest.param(
            lambda call: OK + b"content-length: 99999999\r\n\r\n" + b"x" * (MAX_BYTES + 1),
            "SERVICE_MESSAGE_TOO_LARGE",
            id="too large",
        ),
    ],
)
async def test_a_broken_answer_fails_its_own_call_and_no_other(
    make: Callable[[Call], bytes], code: str
) -> None:
    found, service = await outcomes(first_writes(make))

    assert found == [code, "t2", "t3"]
    assert [call.connection for call in service.calls] == [1, 2, 2]


async def test_what_comes_while_a_connection_is_idle_is_nobodys_answer() -> None:
    async with served(first_writes(lambda call: call.answer)) as (service, client):
        found = [await outcome(client, "t1")]
        service.calls[0].writer.write(service.calls[0].answer)
        async with asyncio.timeout(SOON_S):
            await service.calls[0].closed.wait()
        found += [await outcome(client, "t2"), await outcome(client, "t3")]

    assert found == ["t1", "t2", "t3"]
    assert [call.connection for call in service.calls] == [1, 2, 2]


async def test_what_came_while_the_process_was_busy_is_nobodys_answer() -> None:
    async with served(first_writes(lambda call: call.answer)) as (service, client):
        found = [await outcome(client, "t1")]
        # By the socket itself, and without a turn of the event loop in between.
        socket_number = service.calls[0].writer.get_extra_info("socket").fileno()
        os.write(socket_number, service.calls[0].answer)
        found += [await outcome(client, "t2")]

    assert found == ["t1", "t2"]
    assert [call.connection for call in service.calls] == [1, 2]


async def test_an_answer_to_half_a_request_is_the_last_of_its_connection() -> None:
    early = json.dumps({"output": {"of": "early"}}).encode()
    connections: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"content-length: %d\r\n\r\n" % len(early) + early)
        await writer.drain()
        while await reader.read(65536):
            pass
        writer.close()

    # A small window, so that the request cannot leave before the answer comes.
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1024)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    client = HttpStepClient(url, service="rag-engine", max_message_bytes=64 << 20)
    async with server:
        large = json.dumps("x" * (32 << 20))
        answers = [await client.call(of("t1", text=large, timeout_s=30.0)) for _ in range(2)]
        await client.close()

    assert [json.loads(answer.output)["of"] for answer in answers] == ["early", "early"]
    assert len(connections) == 2


@pytest.mark.parametrize("end", ["cancelled", "timed out"])
async def test_the_answer_to_a_call_that_was_given_up_is_nobodys(end: str) -> None:
    go_on = asyncio.Event()

    async def answer(call: Call) -> None:
        if call.nth == 1:
            await go_on.wait()
        call.writer.write(call.answer)

    async with served(answer) as (service, client):
        first = asyncio.create_task(client.call(of("t1", timeout_s=0.2)))
        async with asyncio.timeout(SOON_S):
            await service.called.wait()
            if end == "cancelled":
                first.cancel()
            await asyncio.wait([first])
        second = asyncio.create_task(outcome(client, "t2"))
        go_on.set()
        found = [await second, await outcome(client, "t3")]

    assert first.cancelled() if end == "cancelled" else isinstance(first.exception(), ServiceError)
    assert found == ["t2", "t3"]
    assert [call.connection for call in service.calls] == [1, 2, 2]


async def test_an_answer_that_names_another_call_is_refused() -> None:
    """The second answer comes so late that the next call runs: only its name can tell."""

    def named(call: Call, task: str) -> bytes:
        key = f"OK\r\nidempotency-key: {task}/1/generate/1\r\n".encode()
        return call.answer.replace(b"OK\r\n", key)

    async def answer(call: Call) -> None:
        task = "t1" if call.nth == 2 else call.body["task_id"]
        call.writer.write(named(call, task))

    found, service = await outcomes(answer)

    assert found == ["t1", "SERVICE_UNAVAILABLE", "t3"]
    assert [call.connection for call in service.calls] == [1, 1, 2]


async def test_many_calls_at_once_each_get_their_own_answer() -> None:
    async def answer(call: Call) -> None:
        await asyncio.sleep(0.001 * (call.nth % 5))
        call.writer.write(call.answer * (1 + call.nth % 2))

    async with served(answer) as (_, client):
        tasks = [f"t{n}" for n in range(200)]
        found = await asyncio.gather(*(outcome(client, task) for task in tasks))

    assert found == tasks
