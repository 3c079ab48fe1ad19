"""From the name of a service in a pipeline to a client for it."""

import asyncio
import re
from collections.abc import Iterable

from agents.services.client import StepClient
from agents.services.grpc_client import GrpcStepClient
from agents.services.settings import ServicesSettings
from schemas.errors import SettingsError

CLOSE_TIMEOUT_S = 5.0


class Directory:
    """The services of this process; one pooled client for each, opened when first asked for.

    A service's setting is its name without the suffix ``-service``, with ``_`` for ``-``:
    ``retrieval-service`` is at ``ORCH_SERVICES_RETRIEVAL``, ``rag-engine`` at
    ``ORCH_SERVICES_RAG_ENGINE``. Belongs to one event loop.
    """

    def __init__(self, settings: ServicesSettings) -> None:
        self._settings = settings
        self._clients: dict[str, StepClient] = {}

    def check(self, services: Iterable[str]) -> None:
        """Make sure that each service has an address that we can call; connects to nothing.

        Raises:
            SettingsError: a name is unknown or an address is wrong. The process must not
                start; the message names all that is wrong.
        """
        problems: list[str] = []
        for service in sorted(set(services)):
            try:
                self._target(service)
            except SettingsError as error:
                problems.append(str(error))
        if problems:
            raise SettingsError("; ".join(problems))

    def client(self, service: str) -> StepClient:
        """The client of a service, the same one each time. Do not close it.

        Raises:
            SettingsError: as in :meth:`check`.
        """
        client = self._clients.get(service)
        if client is None:
            client = GrpcStepClient(
                self._target(service),
                service=service,
                max_message_bytes=self._settings.max_message_bytes,
            )
            self._clients[service] = client
        return client

    async def close(self) -> None:
        """Close all clients; calls in flight fail. Idempotent.

        Raises:
            TimeoutError: not all were closed in ``CLOSE_TIMEOUT_S``; the process may end.
        """
        clients, self._clients = list(self._clients.values()), {}
        async with asyncio.timeout(CLOSE_TIMEOUT_S), asyncio.TaskGroup() as closing:
            for client in clients:
                closing.create_task(client.close())

    def _target(self, service: str) -> str:
        field = service.removesuffix("-service").replace("-", "_")
        address = getattr(self._settings, field, None)
        if not _SERVICE.fullmatch(service) or not isinstance(address, str):
            raise SettingsError(f"service {service!r} is unknown: there is no address for it")
        variable = f"ORCH_SERVICES_{field.upper()}"
        match = _ADDRESS.fullmatch(address)
        if match is None:
            raise SettingsError(f"{variable} is {address!r}; it must be grpc://host:port")
        if not 1 <= int(match["port"]) <= 65535:
            raise SettingsError(f"{variable} is {address!r}; the port must be 1 to 65535")
        return match["target"]


_SERVICE = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_ADDRESS = re.compile(
    r"grpc://(?P<target>([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5}))"
)
