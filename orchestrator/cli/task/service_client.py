"""Calls of the service over gRPC, each with a time limit; its refusals become our errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from orchestrator.api.access.browsers import is_this_machine
from orchestrator.api.access.caller import TENANT_HEADER
from orchestrator.api.settings import ApiSettings
from orchestrator.api.tls.settings import ApiClientSettings
from orchestrator.cli.environment import START_ONE
from orchestrator.cli.task.service_refusal import ServiceAwayError, refusal_of
from orchestrator.cli.task.tls_failure import tls_failure
from schemas.errors import SettingsError
from schemas.gen.orchestrator.v1.orchestrator_pb2_grpc import OrchestratorStub

_CONNECT_S = 5.0
_MESSAGE_MAX_BYTES = 64 * 1024 * 1024
"""Fits a task with all of its attempts; gRPC's own limit of 4 MiB is too low for that."""


class Service:
    """A connection to the service, in the name of the key's tenant, or of the one that is set.

    One replica at a time: the first of the given addresses that answers, and after
    :meth:`move_on` the next one. gRPC ties each answer to its call by the number of its stream.
    """

    def __init__(self, settings: ApiSettings, tls: ApiClientSettings) -> None:
        self._addresses = settings.server_addresses
        self._tls = tls
        self._credentials = _credentials(tls) if tls.on else None
        self._tenant = asked_tenant(settings)
        self._place = 0
        self._channel: grpc.aio.Channel | None = None
        given = {
            "authorization": f"Bearer {settings.key}" if settings.key else "",
            TENANT_HEADER: settings.tenant,
        }
        self._metadata = tuple((name, value) for name, value in given.items() if value)
        self.stub: Any = None
        """The stub of the connected replica."""

    @property
    def address(self) -> str:
        """The address of the connected replica."""
        return self._addresses[self._place]

    async def connect(self) -> None:
        """Connect to the first replica that answers, beginning with the current one.

        Raises:
            ServiceAwayError: no replica answers within five seconds; the message says if it is for
                TLS.
        """
        for _ in self._addresses:
            await self.close()
            self._channel = self._opened()
            self.stub = OrchestratorStub(self._channel)
            if await _connects(self._channel):
                return
            self._place = (self._place + 1) % len(self._addresses)
        if (failure := await tls_failure(self.address, self._tls)) is not None:
            raise ServiceAwayError(failure)
        raise ServiceAwayError(
            f"no service answers at {', '.join(self._addresses)}: {START_ONE} or "
            "`orchestrator serve`, name another one with --server HOST:PORT, or do without it: "
            "--direct"
        )

    def _opened(self) -> grpc.aio.Channel:
        if self._credentials is None:
            return grpc.aio.insecure_channel(self.address, options=_OPTIONS)
        return grpc.aio.secure_channel(self.address, self._credentials, options=_OPTIONS)

    async def move_on(self) -> None:
        """Leave a replica that is down or stops; raises as :meth:`connect`."""
        self._place = (self._place + 1) % len(self._addresses)
        await self.connect()

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    async def call(self, method: str, request: Any, *, timeout_s: float) -> Any:
        """The answer to a unary call.

        Raises:
            TaskUnknownError, ServiceRefusedError: the service refuses the call.
            ServiceAwayError: it did not answer; the requested change may have been made.
        """
        call = getattr(self.stub, method)
        try:
            return await call(request, timeout=timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise refusal_of(error, request, self.address, self._tenant) from None

    async def ask(self, method: str, request: Any, *, timeout_s: float) -> Any:
        """As :meth:`call`, for calls that may be repeated: tries every replica before it fails."""
        for _ in self._addresses[1:]:
            try:
                return await self.call(method, request, timeout_s=timeout_s)
            except ServiceAwayError:
                await self.move_on()
        return await self.call(method, request, timeout_s=timeout_s)

    async def stream(
        self, method: str, request: Any, *, silence_s: float
    ) -> AsyncGenerator[Any, None]:
        """The messages of a stream; raises as :meth:`call`, also if silent for ``silence_s``."""
        messages = getattr(self.stub, method)(request, metadata=self._metadata)
        try:
            while True:
                async with asyncio.timeout(silence_s):
                    message = await messages.read()
                if message is grpc.aio.EOF:
                    return
                yield message
        except grpc.aio.AioRpcError as error:
            raise refusal_of(error, request, self.address, self._tenant) from None
        except TimeoutError:
            raise ServiceAwayError(f"{self.address} was silent for {silence_s:g} s") from None
        finally:
            messages.cancel()


@asynccontextmanager
async def open_service(settings: ApiSettings, tls: ApiClientSettings) -> AsyncIterator[Service]:
    """Connect; ServiceAwayError if no replica answers within five seconds each.

    Raises:
        SettingsError: as :func:`check_key_is_private`.
    """
    check_key_is_private(settings, tls)
    service = Service(settings, tls)
    try:
        await service.connect()
        yield service
    finally:
        await service.close()


def check_key_is_private(settings: ApiSettings, tls: ApiClientSettings) -> None:
    """Refuse to send the key where others can read it.

    Raises:
        SettingsError: a key is set, there is no TLS, and an address is not this machine.
    """
    if not settings.key or tls.on or tls.plaintext:
        return
    for address in settings.server_addresses:
        host = address.rpartition(":")[0].strip("[]")
        if not is_this_machine(host):
            raise SettingsError(
                f"ORCH_API_KEY would be sent to {address} without TLS: set "
                "ORCH_API_CLIENT_CA_FILE or ORCH_API_CLIENT_TLS=true, or "
                "ORCH_API_CLIENT_PLAINTEXT=true if the network encrypts by itself"
            )


def _credentials(tls: ApiClientSettings) -> grpc.ChannelCredentials:
    """TLS credentials.

    Raises:
        SettingsError: a file is missing or wrong; the message names it.
    """
    # The channel's own errors about files name neither file nor reason.
    tls.context()

    def contents(path: Path | None) -> bytes | None:
        return None if path is None else path.read_bytes()

    return grpc.ssl_channel_credentials(
        root_certificates=contents(tls.ca_file),
        private_key=contents(tls.key_file),
        certificate_chain=contents(tls.certificate_file),
    )


def asked_tenant(settings: ApiSettings) -> str:
    """The tenant whose tasks the service shows, in words."""
    if settings.tenant:
        return f"the tenant {settings.tenant}"
    return "the tenant of ORCH_API_KEY" if settings.key else f"the tenant {settings.open_tenant}"


_OPTIONS = (
    ("grpc.max_receive_message_length", _MESSAGE_MAX_BYTES),
    # A proxy for the web cannot reach a service inside the cluster.
    ("grpc.enable_http_proxy", 0),
)


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
