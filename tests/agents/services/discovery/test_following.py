"""A list is looked for again and again; what is no list changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.services.discovery.endpoint import ENDPOINTS_MAX, Endpoint, endpoint_of
from agents.services.discovery.following import (
    DiscoveryError,
    FollowedEndpoints,
    accepted,
    pause_after,
)
from streams import metrics
from tests.agents.services.test_grpc_client import SOON_S
from tests.logged import logged

LOG = "agents.services.discovery.following.log"
A, B = Endpoint("10.0.0.1", 1), Endpoint("10.0.0.2", 1)


class Scripted:
    """Finds what a test wrote, one after the other; then waits for ever."""

    kind = "scripted"
    timeout_s = 5.0
    pause_s = 0.0

    def __init__(self, *found: Sequence[Endpoint] | Exception) -> None:
        self._found = iter(found)
        self.ended = asyncio.Event()

    async def look(self) -> Sequence[Endpoint]:
        found = next(self._found, None)
        if found is None:
            self.ended.set()
            await asyncio.Event().wait()
            raise AssertionError("unreachable")
        if isinstance(found, Exception):
            raise found
        return found


async def lists_of(lookup: Scripted, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Endpoint, ...]]:
    """Every list that comes until the script is over."""
    monkeypatch.setattr("agents.services.discovery.following._FIRST_PAUSE_S", 0.0)
    lists: list[tuple[Endpoint, ...]] = []

    async def watch() -> None:
        async for endpoints in FollowedEndpoints(lookup, service="poet").watch():
            lists.append(endpoints)

    watching = asyncio.create_task(watch())
    async with asyncio.timeout(SOON_S):
        await lookup.ended.wait()
    watching.cancel()
    return lists


async def test_only_lists_that_differ_come_and_their_order_does_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lookup = Scripted([A, B], [B, A, A], [B], [B], [A, B])

    assert await lists_of(lookup, monkeypatch) == [(A, B), (B,), (A, B)]


async def test_the_last_good_list_is_kept_and_it_is_said_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted = metrics.DISCOVERY_FAILURES.labels("poet")
    before = counted._value.get()
    too_many = [Endpoint("h", port) for port in range(1, ENDPOINTS_MAX + 2)]
    lookup = Scripted(
        [A],
        [],
        DiscoveryError("gone"),
        too_many,
        ValueError("<secret>"),
        RecursionError(),
        [A],
        [B],
    )

    with logged(LOG) as lines:
        lists = await lists_of(lookup, monkeypatch)

    assert lists == [(A,), (B,)]
    assert [line["event"] for line in lines] == ["discovery_failed", "discovery_works_again"]
    assert lines[0]["reason"] == "the list is empty"
    assert (lines[0]["kept_endpoints"], lines[1]["failures"]) == (1, 5)
    assert counted._value.get() == before + 5


async def test_a_look_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(Scripted):
        timeout_s = 0.01

        async def look(self) -> Sequence[Endpoint]:
            if not looks:
                looks.append(1)
                await asyncio.Event().wait()
            return await super().look()

    looks: list[int] = []

    assert await lists_of(Endless([A]), monkeypatch) == [(A,)]


async def test_what_a_registry_sent_is_not_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    with logged(LOG) as lines:
        await lists_of(Scripted(ValueError("<secret>")), monkeypatch)

    assert [line["reason"] for line in lines] == ["ValueError"]


HOSTS = st.one_of(
    st.text(max_size=300),
    st.sampled_from(["10.0.0.1", "::1", "a-b.c_d", "[::1]", "0.0.0.0", "fe80::1%eth0", "a:1/b"]),
    st.ip_addresses().map(str),
)


@given(host=HOSTS, port=st.integers(min_value=-5, max_value=70_000))
def test_a_foreign_host_is_an_address_or_a_name_and_nothing_else(host: str, port: int) -> None:
    try:
        endpoint = endpoint_of(host, port)
    except ValueError:
        return

    assert 1 <= endpoint.port <= 65535
    assert not set(endpoint.host) - set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:"
    )
    assert endpoint.authority.count("[") == (":" in endpoint.host)


@given(
    found=st.lists(
        st.builds(Endpoint, st.sampled_from(["a", "b"]), st.integers(min_value=1, max_value=600))
    )
)
def test_an_accepted_list_is_neither_empty_nor_too_long_and_names_each_endpoint_once(
    found: list[Endpoint],
) -> None:
    try:
        endpoints = accepted(found)
    except DiscoveryError:
        assert not found or len(set(found)) > ENDPOINTS_MAX
        return

    assert set(endpoints) == set(found)
    assert len(endpoints) == len(set(endpoints)) <= ENDPOINTS_MAX


@given(
    failures=st.integers(min_value=1, max_value=10**9),
    chance=st.floats(min_value=0, max_value=1, exclude_max=True),
)
def test_the_pause_grows_and_is_bounded(failures: int, chance: float) -> None:
    assert 0.5 <= pause_after(failures, 0.0) <= pause_after(failures, chance) <= 18.0
    assert pause_after(failures, 0.0) <= pause_after(failures + 1, 0.0)
