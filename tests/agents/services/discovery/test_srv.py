"""SRV records as endpoints, from a name server that speaks the real protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import dns.asyncresolver
import dns.flags
import dns.message
import dns.rcode
import dns.resolver
import dns.rrset
import pytest

from agents.services.discovery.address import Finder, parse_shared
from agents.services.discovery.endpoint import Endpoint
from agents.services.discovery.following import DiscoveryError, FollowedEndpoints
from agents.services.discovery.srv import SrvLookup, pause_after_answer

NAME = "_grpc._tcp.poet.internal"


class NameServer(asyncio.DatagramProtocol):
    """Answers every question with the same records."""

    def __init__(self, records: Sequence[str], ttl_s: int, garbage: bytes | None) -> None:
        self.records = records
        self.ttl_s = ttl_s
        self.garbage = garbage

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self.garbage is not None:
            self.transport.sendto(self.garbage, addr)
            return
        asked = dns.message.from_wire(data)
        answer = dns.message.make_response(asked)
        if self.records:
            name = asked.question[0].name
            answer.answer = [dns.rrset.from_text(name, self.ttl_s, "IN", "SRV", *self.records)]
        else:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        self.transport.sendto(answer.to_wire(), addr)


@asynccontextmanager
async def a_lookup(
    *records: str, ttl_s: int = 60, garbage: bytes | None = None
) -> AsyncIterator[tuple[SrvLookup, NameServer]]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(
        lambda: NameServer(records, ttl_s, garbage), local_addr=("127.0.0.1", 0)
    )
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = ["127.0.0.1"]
    resolver.port = transport.get_extra_info("sockname")[1]

    async def resolve(name: str) -> dns.resolver.Answer:
        return await resolver.resolve(name, "SRV", lifetime=0.3)

    try:
        yield SrvLookup(NAME, every_s=5.0, resolve=resolve), server
    finally:
        transport.close()


async def test_each_record_is_an_endpoint_with_the_port_of_its_record() -> None:
    async with a_lookup("1 10 9001 a.internal.", "1 0 9002 b.internal.") as (lookup, _):
        assert sorted(await lookup.look()) == [
            Endpoint("a.internal", 9001),
            Endpoint("b.internal", 9002),
        ]


async def test_only_the_lowest_priority_is_used() -> None:
    async with a_lookup("2 0 9001 spare.internal.", "1 0 9002 a.internal.") as (lookup, _):
        assert await lookup.look() == [Endpoint("a.internal", 9002)]


async def test_records_that_change_are_seen_when_their_time_is_over() -> None:
    async with a_lookup("0 0 9001 a.internal.", ttl_s=1) as (lookup, server):
        lists = FollowedEndpoints(lookup, service="poet").watch()
        assert await anext(lists) == (Endpoint("a.internal", 9001),)

        server.records = ["0 0 9001 b.internal."]
        async with asyncio.timeout(3.0):
            assert await anext(lists) == (Endpoint("b.internal", 9001),)


@pytest.mark.parametrize(
    ("ttl_s", "pause_s"), [(0, 1.0), (1, 1.0), (3, 3.0), (5, 5.0), (86_400, 5.0)]
)
def test_a_name_is_looked_up_again_when_its_answer_is_old(ttl_s: int, pause_s: float) -> None:
    assert pause_after_answer(ttl_s, 5.0) == pause_s


@pytest.mark.parametrize(
    ("records", "garbage"),
    [
        ([], None),  # there is no such name
        (["0 0 0 ."], None),  # there is no such service
        (["0 0 9001 a.internal."], b"\x00" * 7),
        (["0 0 9001 a.internal."], b"\xff" * 600),
    ],
)
async def test_a_name_without_usable_records_gives_no_list(
    records: list[str], garbage: bytes | None
) -> None:
    async with a_lookup(*records, garbage=garbage) as (lookup, _):
        with pytest.raises(DiscoveryError, match=r"^the (name|records) "):
            await lookup.look()


def test_an_address_names_the_records() -> None:
    address = parse_shared(f"srv+grpc://{NAME}")

    assert (address.finder, address.name, address.transport) == (Finder.SRV, NAME, "grpc")


@pytest.mark.parametrize("wrong", [f"{NAME}:9001", "", "a|b", "a..b"])
def test_an_address_that_cannot_name_records_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="the name to look up must be _SERVICE"):
        parse_shared(f"srv+grpc://{wrong}")
