"""One service with several real servers: who gets a call, and what happens when they change."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import grpc
import pytest

from agents.services.balancing.client import BalancedStepClient
from agents.services.client import OnChunk, StepRequest, StepResponse
from agents.services.discovery.endpoint import Endpoint
from agents.services.discovery.static_list import StaticEndpoints
from agents.services.failure import ServiceError
from schemas.gen.services.v1 import step_service_pb2 as pb
from schemas.records import Json
from streams import metrics
from tests.agents.services import test_http_client as http
from tests.agents.services.balancing.several import (
    ChangingList,
    Instance,
    a_balanced_client,
    drained,
    instances,
    over_grpc,
    over_http,
)
from tests.agents.services.test_grpc_client import (
    SOON_S,
    Context,
    a_request,
    answers,
    fails,
    hangs,
)


@contextlib.contextmanager
def a_refusing_port() -> Iterator[Endpoint]:
    """A port of ours on which nobody listens: connections are refused."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield Endpoint("127.0.0.1", held.getsockname()[1])


async def test_all_endpoints_of_a_list_are_called() -> None:
    async with instances(answers, answers, answers) as servers:
        source = StaticEndpoints([one.endpoint for one in servers])
        async with a_balanced_client(source) as client:
            for _ in range(60):
                await client.call(a_request())

    assert all(one.calls for one in servers)
    assert sum(one.calls for one in servers) == 60


async def test_a_busy_endpoint_gets_no_further_call() -> None:
    async with instances(hangs, answers) as (busy, idle):
        source = StaticEndpoints([busy.endpoint, idle.endpoint])
        async with a_balanced_client(source) as client, asyncio.timeout(SOON_S):
            calling = asyncio.create_task(client.call(a_request()))
            while not busy.calls:
                if calling.done():
                    calling = asyncio.create_task(client.call(a_request()))
                await asyncio.wait([calling], timeout=0.01)
            for _ in range(20):
                await client.call(a_request())
            calling.cancel()

    assert busy.calls == 1


@pytest.mark.parametrize("refuses", [True, False], ids=["refused", "unreachable"])
@pytest.mark.parametrize("transport", ["grpc", "http"])
async def test_a_call_that_cannot_connect_goes_to_another_endpoint(
    transport: str, refuses: bool
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        # No route leads to the broadcast address over TCP.
        away = Endpoint("255.255.255.255", 9)
        if refuses:
            away = stack.enter_context(a_refusing_port())
        if transport == "grpc":
            (server,) = await stack.enter_async_context(instances(answers))
            there, make = server.endpoint, over_grpc
        else:
            url = await stack.enter_async_context(
                http.a_server(http.ScriptedService(http.answers({"output": 1})))
            )
            there, make = Endpoint("127.0.0.1", int(url.split(":")[2].split("/")[0])), over_http
        client = BalancedStepClient(StaticEndpoints([away, there]), make, service="poet")
        stack.push_async_callback(client.close)

        for _ in range(20):
            await client.call(a_request())


async def test_a_call_that_reached_an_endpoint_is_not_made_again() -> None:
    words = "failed to connect to all addresses; last error: Connection refused"
    proxy = fails(grpc.StatusCode.UNAVAILABLE, words)
    async with instances(proxy, proxy) as servers:
        source = StaticEndpoints([one.endpoint for one in servers])
        async with a_balanced_client(source) as client:
            with pytest.raises(ServiceError, match="refuses connections"):
                await client.call(a_request())

    assert sum(one.calls for one in servers) == 1


async def test_an_endpoint_whose_calls_fail_is_left_out() -> None:
    left_out = metrics.ENDPOINTS_LEFT_OUT.labels("poet")
    before = left_out._value.get()
    async with instances(fails(grpc.StatusCode.INTERNAL), answers) as (broken, good):
        source = StaticEndpoints([broken.endpoint, good.endpoint])
        async with a_balanced_client(source) as client:
            failed = 0
            for _ in range(60):
                try:
                    await client.call(a_request())
                except ServiceError:
                    failed += 1

    assert (failed, broken.calls, good.calls) == (3, 3, 57)
    assert left_out._value.get() == before + 1


async def test_when_all_endpoints_fail_none_is_left_out() -> None:
    broken = fails(grpc.StatusCode.INTERNAL)
    async with instances(broken, broken) as servers:
        source = StaticEndpoints([one.endpoint for one in servers])
        async with a_balanced_client(source) as client:
            for _ in range(40):
                with pytest.raises(ServiceError):
                    await client.call(a_request())

    assert sum(one.calls for one in servers) == 40
    assert min(one.calls for one in servers) > 3


async def test_endpoints_appear_move_and_vanish_under_load_without_a_failed_call() -> None:
    done = asyncio.Event()

    async def works(request: pb.RunRequest, context: Context) -> pb.RunResponse:
        await asyncio.sleep(0.002)
        return pb.RunResponse(output=request.input)

    async def keeps_calling(client: BalancedStepClient) -> int:
        calls = 0
        while not done.is_set():
            answer = await client.call(a_request(text=f'{{"n":{calls}}}'))
            assert answer.output == f'{{"n":{calls}}}'
            calls += 1
        return calls

    running = [Instance(works)]
    await running[0].start()
    source = ChangingList(running[0].endpoint)
    async with a_balanced_client(source) as client:
        load = [asyncio.create_task(keeps_calling(client)) for _ in range(8)]
        for _ in range(12):
            new = [Instance(works) for _ in range(2)]
            for one in new:
                await one.start()
            source.set([one.endpoint for one in (running[-1], *new)])
            async with asyncio.timeout(SOON_S):
                for one in new:
                    await one.service.called.wait()
            source.set([one.endpoint for one in new])
            await source.taken()
            await drained(client)
            for gone in running:
                await gone.stop(grace_s=SOON_S)
            running = new
            assert metrics.SERVICE_ENDPOINTS.labels("poet")._value.get() == 2
        done.set()
        counts = await asyncio.gather(*load)
    for one in running:
        await one.stop()

    assert all(counts)


class _Counted:
    """A client of one endpoint that answers when a test says so."""

    def __init__(self) -> None:
        self.answer = asyncio.Event()
        self.closed = asyncio.Event()
        self.called = asyncio.Event()
        self.calls = 0

    async def call(self, request: StepRequest, *, on_chunk: OnChunk | None = None) -> StepResponse:
        self.calls += 1
        self.called.set()
        await self.answer.wait()
        return StepResponse(output=Json("1"))

    async def close(self) -> None:
        self.closed.set()


async def test_an_endpoint_that_leaves_ends_its_calls_and_is_closed_then() -> None:
    old, new = Endpoint("old", 1), Endpoint("new", 1)
    clients = {old: _Counted(), new: _Counted()}
    source = ChangingList(old)
    client = BalancedStepClient(source, clients.__getitem__, service="poet")
    async with asyncio.timeout(SOON_S):
        calling = asyncio.create_task(client.call(a_request()))
        await clients[old].called.wait()
        source.set([new])
        await source.taken()
        assert not clients[old].closed.is_set()
        clients[old].answer.set()
        await calling
        await clients[old].closed.wait()
        clients[new].answer.set()
        await client.call(a_request())
        await client.close()

    assert (clients[old].calls, clients[new].calls) == (1, 1)
    assert clients[new].closed.is_set()


async def test_an_endpoint_that_is_back_before_its_last_call_ended_keeps_its_client() -> None:
    one, other = Endpoint("one", 1), Endpoint("other", 1)
    made: list[Endpoint] = []
    counted = {one: _Counted(), other: _Counted()}

    def make(endpoint: Endpoint) -> _Counted:
        made.append(endpoint)
        return counted[endpoint]

    source = ChangingList(one)
    client = BalancedStepClient(source, make, service="poet")
    async with asyncio.timeout(SOON_S):
        calling = asyncio.create_task(client.call(a_request()))
        await counted[one].called.wait()
        for endpoints in ([other], [one]):
            source.set(endpoints)
            await source.taken()
        counted[one].answer.set()
        await calling
        await client.call(a_request())
        assert not counted[one].closed.is_set()
        await client.close()

    assert made == [one, other]


async def test_without_a_first_list_calls_fail_and_go_through_when_it_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agents.services.balancing.client.FIRST_LIST_S", 0.01)
    source = ChangingList()
    async with instances(answers) as (server,), a_balanced_client(source) as client:
        with pytest.raises(ServiceError, match="its endpoints are not known yet") as raised:
            await client.call(a_request())
        source.set([server.endpoint])
        await source.taken()
        await client.call(a_request())

    assert raised.value.code == "SERVICE_UNAVAILABLE"


async def test_calls_in_flight_and_calls_that_wait_fail_when_the_client_is_closed() -> None:
    async with instances(hangs) as (server,):
        for source in (StaticEndpoints([server.endpoint]), ChangingList()):
            client = BalancedStepClient(source, over_grpc, service="poet")
            calling = asyncio.create_task(client.call(a_request()))
            if isinstance(source, StaticEndpoints):
                await server.service.called.wait()
            else:
                await asyncio.sleep(0)
            await client.close()
            for call in (calling, client.call(a_request())):
                with pytest.raises(ServiceError) as raised:
                    await call
                assert raised.value.code == "SERVICE_UNAVAILABLE"


async def test_a_cancelled_call_is_given_back_and_says_nothing_about_its_endpoint() -> None:
    calls = iter([*[fails(grpc.StatusCode.INTERNAL)] * 2, *[hangs] * 5])

    async def runs(request: pb.RunRequest, context: Context) -> pb.RunResponse:
        return await next(calls)(request, context)

    async with contextlib.AsyncExitStack() as stack:
        (server,) = await stack.enter_async_context(instances(runs))
        source = StaticEndpoints([server.endpoint])
        client = await stack.enter_async_context(a_balanced_client(source))
        for _ in range(2):
            with pytest.raises(ServiceError):
                await client.call(a_request())
        for _ in range(5):
            server.service.called.clear()
            calling = asyncio.create_task(client.call(a_request()))
            await server.service.called.wait()
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
        member = client._members.take()

    assert member is not None
    assert (member.calls, member.health.failures) == (1, 2)
