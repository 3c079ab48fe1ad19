"""Consul finds the instances, also when it is away, answers nonsense or forgets its index."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from agents.services.balancing.client import BalancedStepClient
from agents.services.discovery.consul import ConsulLookup, next_index
from agents.services.discovery.endpoint import Endpoint
from agents.services.discovery.following import DiscoveryError, FollowedEndpoints
from agents.services.discovery.registry_http import BODY_MAX_BYTES, RegistryHttp
from schemas.gen.services.v1 import step_service_pb2 as pb
from streams import metrics
from tests.agents.services.balancing.several import Instance, a_balanced_client, drained, until
from tests.agents.services.discovery.fake_consul import FakeConsul, a_consul, an_entry
from tests.agents.services.test_grpc_client import SOON_S, Context, a_request

A, B = Endpoint("10.0.0.1", 9001), Endpoint("10.0.0.2", 9001)


@given(last=st.integers(min_value=0, max_value=2**64), header=st.none() | st.text(max_size=30))
def test_an_index_never_goes_back_without_beginning_anew(last: int, header: str | None) -> None:
    index = next_index(last, header)

    assert index == 0 or (header is not None and index == int(header) >= last)


@given(last=st.integers(min_value=0, max_value=2**32), more=st.integers(-(2**32), 2**32))
def test_an_index_that_grows_is_waited_for(last: int, more: int) -> None:
    assert next_index(last, str(last + more)) == (last + more if more >= 0 else 0)


def a_lookup(consul: FakeConsul, **fields: str) -> ConsulLookup:
    return ConsulLookup(RegistryHttp(consul.url), "poet", pause_s=0.01, **fields)  # type: ignore[arg-type]


async def test_a_query_blocks_until_something_changes() -> None:
    async with a_consul(A) as consul, asyncio.timeout(SOON_S):
        lookup = a_lookup(consul)
        assert await lookup.look() == [A]
        waiting = asyncio.create_task(lookup.look())
        await consul.asked(2)
        assert not waiting.done()
        consul.set([B])
        assert await waiting == [B]

    assert [query.get("index") for query in consul.queries] == [None, "11"]


async def test_an_index_that_goes_backwards_is_not_waited_for() -> None:
    async with a_consul(A) as consul, asyncio.timeout(SOON_S):
        lookup = a_lookup(consul)
        await lookup.look()
        consul.set([B], index=3)
        assert await lookup.look() == [B]
        await lookup.look()
        waiting = asyncio.create_task(lookup.look())
        await consul.asked()
        consul.set([A])
        assert await waiting == [A]

    assert [query.get("index") for query in consul.queries] == [None, "11", None, "3"]


async def test_an_instance_without_an_address_has_that_of_its_node_and_tags_are_asked_for() -> None:
    async with a_consul() as consul:
        consul.entries = [an_entry(A, at_node=True)]

        assert await a_lookup(consul, tag="v2").look() == [A]

    assert consul.queries[0]["tag"] == "v2"


async def test_an_entry_that_cannot_be_read_does_not_spoil_the_others() -> None:
    async with a_consul() as consul:
        wrong = [None, {}, {"Service": {"Port": 0, "Address": "h"}}, {"Service": {"Port": "x"}}]
        consul.entries = [*wrong, an_entry(B), {"Service": {"Port": 1, "Address": "a b"}}]

        assert await a_lookup(consul).look() == [B]


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"<html>"),
        (200, b"\xff\xfe"),
        (200, b"{}"),
        (200, b"[{}]"),
        (200, b"[" * 100_000),
        (200, b"[" + b"0," * 20_000 + b"0]"),
        (200, b" " * (BODY_MAX_BYTES + 1)),
        (302, b""),
        (500, b"secret"),
    ],
    ids=["html", "no-text", "object", "no-entry", "deep", "many", "long", "redirect", "500"],
)
async def test_what_is_no_list_is_refused_without_being_quoted(answer: tuple[int, bytes]) -> None:
    async with a_consul() as consul:
        headers = {"location": "http://127.0.0.1:1/"} if answer[0] == 302 else {}
        consul.change(raw=web.Response(status=answer[0], body=answer[1], headers=headers))

        with pytest.raises(DiscoveryError, match="registry") as raised:
            await a_lookup(consul).look()

    assert "secret" not in str(raised.value)
    assert ("too long" in str(raised.value)) is (len(answer[1]) > BODY_MAX_BYTES)


@contextlib.asynccontextmanager
async def load_on(
    consul: FakeConsul,
) -> AsyncIterator[tuple[BalancedStepClient, Callable[[], Awaitable[None]]]]:
    """Calls without a pause, none of which may fail; also gives a wait for some more of them."""
    lookup = a_lookup(consul)
    calls, done = 0, asyncio.Event()
    async with a_balanced_client(FollowedEndpoints(lookup, service="poet")) as client:

        async def keeps_calling() -> None:
            nonlocal calls
            while not done.is_set():
                answer = await client.call(a_request(text=f'{{"n":{calls}}}'))
                assert json.loads(answer.output)
                calls += 1

        async def some_more() -> None:
            until = calls + 50
            while calls < until:
                for one in running:
                    if one.done():
                        one.result()
                await asyncio.wait(running, timeout=0.005)

        running = [asyncio.create_task(keeps_calling()) for _ in range(6)]
        try:
            yield client, some_more
        finally:
            done.set()
            await asyncio.gather(*running)


async def works(request: pb.RunRequest, context: Context) -> pb.RunResponse:
    await asyncio.sleep(0.001)
    return pb.RunResponse(output=request.input)


async def known_to_be(count: int) -> None:
    gauge = metrics.SERVICE_ENDPOINTS.labels("poet")
    await until(lambda: gauge._value.get() == count)


async def test_no_call_fails_while_instances_change_and_consul_breaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agents.services.discovery.following._LONGEST_PAUSE_S", 0.05)
    one, two, three = servers = [Instance(works) for _ in range(3)]
    for server in servers:
        await server.start()
    async with (
        a_consul(one.endpoint) as consul,
        asyncio.timeout(30),
        load_on(consul) as (client, more),
    ):
        await more()
        consul.set([one.endpoint, two.endpoint])  # one appears
        await known_to_be(2)
        await more()
        consul.set([three.endpoint, two.endpoint])  # one moves
        await three.service.called.wait()
        await drained(client)
        await one.stop(grace_s=SOON_S)
        consul.set([three.endpoint])  # one vanishes
        await known_to_be(1)
        await drained(client)
        await two.stop(grace_s=SOON_S)
        await more()
        for raw in (web.Response(body=b"garbage"), web.Response(status=500)):
            consul.change(raw=raw)
            await consul.asked(3)
            await more()
        consul.change()
        consul.set([])  # empty: the last list stays
        await consul.asked(2)
        await more()
        await consul.stop()  # away
        await more()
        consul.index, new = 1, Instance(works)  # back, with an older index, and another instance
        await new.start()
        consul.entries = [an_entry(new.endpoint)]
        await consul.start()
        await new.service.called.wait()
        await drained(client)
        await three.stop(grace_s=SOON_S)
        await more()
    await new.stop()
