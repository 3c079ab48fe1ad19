"""Asks the endpoints of a service whether they are well.

Source: gRPC Health Checking Protocol (``grpc.health.v1``), for the whole server.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

from agents.services.balancing.members import Members
from agents.services.discovery.endpoint import Endpoint
from agents.services.grpc_channel import GrpcChannels
from agents.services.headers import ServiceHeaders
from agents.services.service_tls import ServiceTls
from agents.services.single_connection import name_server, single_connection

HealthCheck = Callable[[Endpoint], Awaitable[bool]]
"""Whether an endpoint says that it is well. Every exception means that it does not."""

CHECK_TIMEOUT_S = 3.0
_AT_ONCE = 16
"""Questions at the same time, of one service."""
_ANSWER_MAX_BYTES = 64 * 1024


class HealthChecks:
    """Asks each endpoint again and again, beside the calls.

    Args:
        check: asks one endpoint.
        every_s: seconds between two questions to an endpoint; processes do not ask together.
    """

    def __init__(self, check: HealthCheck, *, every_s: float) -> None:
        self._check = check
        self._every_s = every_s
        self._free = asyncio.Semaphore(_AT_ONCE)

    async def run(self, members: Members, left_out: Callable[[Endpoint], None]) -> None:
        """Note what the endpoints say, until it is cancelled.

        Args:
            members: the endpoints.
            left_out: called when an endpoint is left out from now on.
        """
        while True:
            await asyncio.sleep(self._every_s * (0.9 + 0.2 * random.random()))
            asked = members.endpoints()
            for endpoint, well in zip(
                asked, await asyncio.gather(*map(self._is_well, asked)), strict=True
            ):
                if members.note_check(endpoint, well=well):
                    left_out(endpoint)

    async def _is_well(self, endpoint: Endpoint) -> bool:
        async with self._free:
            try:
                async with asyncio.timeout(min(CHECK_TIMEOUT_S, self._every_s)):
                    return await self._check(endpoint)
            except Exception:  # what an endpoint answers may break any library
                return False


def over_grpc(tls: ServiceTls | None, headers: ServiceHeaders) -> HealthCheck:
    """Asks the standard health service. A server without that service counts as well."""

    async def check(endpoint: Endpoint) -> bool:
        channels = GrpcChannels(
            endpoint.authority,
            tls=tls,
            max_message_bytes=_ANSWER_MAX_BYTES,
            server_name=endpoint.server_name,
        )
        try:
            async with channels.borrowed() as opened:
                answer = await health_pb2_grpc.HealthStub(opened.channel).Check(
                    health_pb2.HealthCheckRequest(), metadata=headers.current()
                )
        except grpc.aio.AioRpcError as error:
            return bool(error.code() is grpc.StatusCode.UNIMPLEMENTED)
        finally:
            await channels.close()
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    return check


def over_http(
    scheme: str, path: str, tls: ServiceTls | None, headers: ServiceHeaders
) -> HealthCheck:
    """Asks by a GET; 2xx means well. The body is not read.

    Args:
        scheme: ``http`` or ``https``.
        path: with its slash.
        tls: for ``https``.
        headers: of each call of the service.
    """

    async def check(endpoint: Endpoint) -> bool:
        url = f"{scheme}://{endpoint.authority}{path}"
        async with single_connection(tls, httpx.Timeout(CHECK_TIMEOUT_S)) as http:
            asked = http.build_request("GET", url, headers=headers.current())
            name_server(asked, endpoint.server_name)
            answer = await http.send(asked, stream=True)
            await answer.aclose()
            return answer.is_success

    return check
