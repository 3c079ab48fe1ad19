"""The gRPC channel to one service: a new one when the files of its TLS have changed."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from agents.services.service_tls import ServiceTls
from schemas.gen.services.v1.step_service_pb2_grpc import StepServiceStub

if TYPE_CHECKING:  # names of type information only
    from schemas.gen.services.v1.step_service_pb2_grpc import StepServiceAsyncStub


@dataclass(slots=True, eq=False)
class OpenChannel:
    """A channel, and how many calls use it."""

    channel: grpc.aio.Channel
    stub: "StepServiceAsyncStub"
    version: int
    """That of the TLS with which it was opened."""
    calls: int = 0


class GrpcChannels:
    """The channel of one service, opened at its first use and reopened by gRPC.

    Args:
        address: ``host:port``; a name is resolved again at each reconnect.
        tls: None: in the clear.
        max_message_bytes: size of a request and of an answer, inclusive.
        server_name: of the certificate and of the pseudo-header ``:authority``; None: the host.
    """

    def __init__(
        self,
        address: str,
        *,
        tls: ServiceTls | None,
        max_message_bytes: int,
        server_name: str | None = None,
    ) -> None:
        self._address = address
        self._tls = tls
        self._options: list[tuple[str, int | str]] = [*_channel_options(max_message_bytes)]
        if server_name is not None:
            port = address.rpartition(":")[2]
            # The certificate is compared with it, too.
            self._options.append(("grpc.default_authority", f"{server_name}:{port}"))
        self._current: OpenChannel | None = None
        self._outdated: set[OpenChannel] = set()

    @asynccontextmanager
    async def borrowed(self) -> AsyncIterator[OpenChannel]:
        """The channel for one call.

        An outdated channel takes no new call, and is closed when its last one has ended.
        """
        opened = self._fresh()
        opened.calls += 1
        try:
            await self._close_unused()
            yield opened
        finally:
            opened.calls -= 1
            await self._close_unused()

    async def close(self) -> None:
        """Close all channels; calls in flight fail."""
        channels = [*self._outdated, *([self._current] if self._current else [])]
        self._outdated, self._current = set(), None
        for opened in channels:
            await opened.channel.close()

    def _fresh(self) -> OpenChannel:
        if self._tls is not None:
            self._tls.refresh()
        version = self._tls.version if self._tls else 0
        if self._current is not None and self._current.version != version:
            self._outdated.add(self._current)
            self._current = None
        if self._current is None:
            channel = self._opened()
            self._current = OpenChannel(channel, StepServiceStub(channel), version)
        return self._current

    def _opened(self) -> grpc.aio.Channel:
        if self._tls is None:
            return grpc.aio.insecure_channel(self._address, options=self._options)
        credentials = self._tls.credentials()
        return grpc.aio.secure_channel(self._address, credentials, options=self._options)

    async def _close_unused(self) -> None:
        for opened in [one for one in self._outdated if one.calls == 0]:
            self._outdated.discard(opened)
            await opened.channel.close()


def _channel_options(max_message_bytes: int) -> Sequence[tuple[str, int]]:
    return (
        ("grpc.max_send_message_length", max_message_bytes),
        ("grpc.max_receive_message_length", max_message_bytes),
        # One call is one attempt: transparent retries below us are off, too.
        ("grpc.enable_retries", 0),
        # Reconnects about a second after the service is back. By default the pause grows to two
        # minutes, and one attempt to connect to a host that drops packets takes 20 s.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        # Services are reached directly; a proxy variable is for traffic out of the cluster.
        ("grpc.enable_http_proxy", 0),
        # Otherwise clients of one address share a connection and its backoff.
        ("grpc.use_local_subchannel_pool", 1),
        # Finds a peer that vanished without closing. Servers with default settings answer a third
        # ping in five minutes of silence with GOAWAY (too_many_pings); 100 s stays below that.
        # This also turns on TCP_USER_TIMEOUT: sent bytes must be acknowledged in 20 s.
        ("grpc.keepalive_time_ms", 100_000),
        ("grpc.keepalive_timeout_ms", 20_000),
    )
