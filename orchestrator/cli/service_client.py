"""Calls of the service over gRPC, each with a bound; its refusals become our errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from orchestrator.api.settings import ApiSettings
from orchestrator.cli.service_refusal import ServiceAwayError, refusal_of
from schemas.gen.orchestrator.v1.orchestrator_pb2_grpc import OrchestratorStub

_CONNECT_S = 5.0
_MESSAGE_MAX_BYTES = 64 * 1024 * 1024
"""A task with all of its attempts; gRPC's own bound of 4 MiB is below what tasks can hold."""


class Service:
    """A connection to the service, in the name of the key's tenant."""

    def __init__(self, channel: grpc.aio.Channel, address: str, key: str) -> None:
        self.stub: Any = OrchestratorStub(channel)
        self._address = address
        self._metadata = (("authorization", f"Bearer {key}"),) if key else ()

    async def call(self, method: Any, request: Any, *, timeout_s: float) -> Any:
        """The answer to a unary call.

        Raises:
            TaskUnknownError, ServiceRefusedError: the service says no.
            ServiceAwayError: it did not answer; what was asked for may be done all the same.
        """
        try:
            return await method(request, timeout=timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise refusal_of(error, request, self._address) from None

    async def stream(
        self, method: Any, request: Any, *, silence_s: float
    ) -> AsyncGenerator[Any, None]:
        """The messages of a stream; raises as :meth:`call`, also after so long a silence."""
        messages = method(request, metadata=self._metadata)
        try:
            while True:
                async with asyncio.timeout(silence_s):
                    message = await messages.read()
                if message is grpc.aio.EOF:
                    return
                yield message
        except grpc.aio.AioRpcError as error:
            raise refusal_of(error, request, self._address) from None
        except TimeoutError:
            raise ServiceAwayError(f"{self._address} was silent for {silence_s:g} s") from None
        finally:
            messages.cancel()


@asynccontextmanager
async def open_service(settings: ApiSettings) -> AsyncIterator[Service]:
    """Connect; ServiceAwayError if nothing answers within five seconds."""
    address = settings.server_address
    options = [
        ("grpc.max_receive_message_length", _MESSAGE_MAX_BYTES),
        # A proxy for the web does not know the way to a service of ours.
        ("grpc.enable_http_proxy", 0),
    ]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        if not await _connects(channel):
            raise ServiceAwayError(
                f"no service answers at {address}: start one with `orchestrator serve`, "
                "name another one with --server HOST:PORT, or do without it: --direct"
            )
        yield Service(channel, address, settings.key)


async def _connects(channel: grpc.aio.Channel) -> bool:
    try:
        async with asyncio.timeout(_CONNECT_S):
            while True:
                state = channel.get_state(try_to_connect=True)
                if state is grpc.ChannelConnectivity.READY:
                    return True
                if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                    return False
                await channel.wait_for_state_change(state)
    except TimeoutError:
        return False
