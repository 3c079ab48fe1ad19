"""The addresses of a name as endpoints."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agents.services.discovery.dns import DnsLookup
from agents.services.discovery.endpoint import Endpoint, usable
from agents.services.discovery.following import DiscoveryError
from agents.services.failure import ServiceError
from tests.agents.services.secured import SCHEMES, Files, Heard, a_client, a_service
from tests.agents.services.test_grpc_client import a_request


def an_answer(*addresses: str) -> list[tuple[Any, ...]]:
    return [
        (socket.AF_INET6, 1, 6, "", (one, 9001, 0, 0))
        if ":" in one
        else (socket.AF_INET, 1, 6, "", (one, 9001))
        for one in addresses
    ]


async def found_in(answer: Sequence[tuple[Any, ...]] | Exception) -> Sequence[Endpoint]:
    async def resolve(name: str, port: int) -> Sequence[tuple[Any, ...]]:
        assert (name, port) == ("poet", 9001)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return await DnsLookup("poet", 9001, every_s=5.0, resolve=resolve).look()


async def test_each_address_is_an_endpoint_that_is_called_by_the_name() -> None:
    found = await found_in(an_answer("10.0.0.1", "fd00::2"))

    assert found == [Endpoint("10.0.0.1", 9001, "poet"), Endpoint("fd00::2", 9001, "poet")]


async def test_an_address_that_is_none_of_a_host_does_not_spoil_the_others() -> None:
    assert await found_in(an_answer("fe80::1%eth0", "10.0.0.1")) == [
        Endpoint("10.0.0.1", 9001, "poet")
    ]


@pytest.mark.parametrize("host", ["999.1.1.1", "1.2.3", "10", "a b", "-a", ""])
def test_what_only_looks_like_a_host_is_left_out(host: str) -> None:
    assert usable([(host, 9001, None), ("10.0.0.1", 9001, None)]) == [Endpoint("10.0.0.1", 9001)]


@pytest.mark.parametrize("error", [socket.gaierror(8, "secret"), UnicodeError("secret")])
async def test_a_name_that_cannot_be_resolved_gives_no_list(error: Exception) -> None:
    with pytest.raises(DiscoveryError, match=r"^the name cannot be resolved$"):
        await found_in(error)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("certified", ["localhost", "127.0.0.1"])
async def test_over_tls_the_certificate_must_be_for_the_name_and_not_for_the_address(
    scheme: str, certified: str, tmp_path: Path
) -> None:
    files = Files(tmp_path)
    async with contextlib.AsyncExitStack() as stack:
        server = a_service(scheme, Heard(), files.server(certified))
        address = "dns+" + (await stack.enter_async_context(server)).replace(
            "127.0.0.1", "localhost"
        )
        client = await stack.enter_async_context(a_client(address, ca_files=f"poet={files.ca}"))

        if certified == "localhost":
            await client.call(a_request())
        else:
            with pytest.raises(ServiceError, match="its certificate is for another host"):
                await client.call(a_request())


async def test_the_resolver_of_the_system_is_asked() -> None:
    found = await DnsLookup("localhost", 9001, every_s=5.0).look()

    assert {one.server_name for one in found} == {"localhost"}
    assert {one.host for one in found} <= {"127.0.0.1", "::1"}
