"""From the name of a service in a pipeline to a client for it."""

import asyncio
from collections.abc import Iterable

from agents.services.access import SERVICE_NAME, ServiceAccess, field_of, is_secure
from agents.services.address import parsed_address
from agents.services.balancing.checks import HealthChecks, over_grpc, over_http
from agents.services.balancing.client import BalancedStepClient
from agents.services.balancing.members import MakeClient
from agents.services.client import StepClient
from agents.services.discovery.address import SharedAddress, is_shared, parse_shared
from agents.services.discovery.endpoint import Endpoint
from agents.services.discovery.sources import source_of
from agents.services.grpc_client import GrpcStepClient
from agents.services.headers import ServiceHeaders
from agents.services.http_client import HttpStepClient
from agents.services.inline_client import InlineStepClient, load_function
from agents.services.models.address import ModelAddress, is_model, parse_address
from agents.services.models.api import ModelTimes
from agents.services.models.client import ModelClient
from agents.services.models.prices import load_prices
from agents.services.models.tools.toolbox import Toolbox
from agents.services.service_tls import ServiceTls
from agents.services.settings import ServicesSettings
from schemas.errors import SettingsError

CLOSE_TIMEOUT_S = 5.0


class Directory:
    """The services of this process; one pooled client for each, opened at its first use.

    A service's setting is its name without the suffix ``-service``, with ``_`` for ``-``:
    ``retrieval-service`` is at ``ORCH_SERVICES_RETRIEVAL``, ``rag-engine`` at
    ``ORCH_SERVICES_RAG_ENGINE``; all other services are in ``ORCH_SERVICES_EXTRA``. The scheme of
    the address chooses the client. Belongs to one event loop.

    Args:
        settings: the addresses.
        tool_methods: the services and methods that models may call as tools.
    """

    def __init__(
        self,
        settings: ServicesSettings,
        tool_methods: frozenset[tuple[str, str]] = frozenset(),
    ) -> None:
        self._settings = settings
        self._toolbox = Toolbox(self.client, tool_methods)
        self._access = settings.access()
        self._clients: dict[str, StepClient] = {}

    def check(self, services: Iterable[str]) -> None:
        """Make sure that each service can be called; opens no connection.

        Raises:
            SettingsError: a name is unknown, an address is wrong, or a file of its TLS or of its
                headers cannot be used. The process must not start; the message lists all faults.
        """
        problems: list[str] = []
        for service in sorted(set(services)):
            try:
                self._client(service)
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
            client = self._client(service)
            self._clients[service] = client
        return client

    def client_at_once(self, service: str) -> InlineStepClient | None:
        """The client of a service that answers without waiting; None for any other service.

        Raises:
            SettingsError: as in :meth:`check`.
        """
        client = self.client(service)
        if isinstance(client, InlineStepClient) and client.answers_at_once:
            return client
        return None

    async def close(self) -> None:
        """Close all clients; calls in flight fail. Idempotent.

        Raises:
            TimeoutError: not all were closed in ``CLOSE_TIMEOUT_S``; the process may end.
        """
        clients, self._clients = list(self._clients.values()), {}
        async with asyncio.timeout(CLOSE_TIMEOUT_S), asyncio.TaskGroup() as closing:
            for client in clients:
                closing.create_task(client.close())

    def _client(self, service: str) -> StepClient:
        scheme, target = self._target(service)
        limit = self._settings.max_message_bytes
        if scheme == "python":
            return InlineStepClient(load_function(target), service=service)
        access = self._access.get(field_of(service), ServiceAccess())
        try:
            tls = ServiceTls(access.files) if is_secure(scheme) else None
            headers = ServiceHeaders(access.headers)
        except SettingsError as error:
            raise SettingsError(f"service {service!r}: {error}") from error
        if is_model(target):
            model = parse_address(target)
            return self._model(service, model, access, tls, headers)
        if is_shared(target):
            checks = self._checks(parse_shared(target), access, tls, headers)
            return self._balanced(service, parse_shared(target), tls, headers, checks)
        client = GrpcStepClient if scheme in ("grpc", "grpcs") else HttpStepClient
        return client(target, service=service, max_message_bytes=limit, tls=tls, headers=headers)

    def _model(
        self,
        service: str,
        address: ModelAddress,
        access: ServiceAccess,
        tls: ServiceTls | None,
        headers: ServiceHeaders,
    ) -> StepClient:
        settings = self._settings
        prices = load_prices(settings.prices_file)

        def make(at: ModelAddress, server_name: str | None = None) -> StepClient:
            return ModelClient(
                at,
                service=service,
                max_message_bytes=settings.max_message_bytes,
                prices=prices,
                times=ModelTimes(
                    first_token_s=settings.model_first_token_s,
                    between_tokens_s=settings.model_between_tokens_s,
                ),
                tls=tls,
                headers=headers,
                server_name=server_name,
                toolbox=self._toolbox,
            )

        if address.shared is None:
            return make(address)
        checks = self._checks(address.shared, access, tls, headers)
        return self._over_endpoints(
            service, address.shared, lambda one: make(address.of(one), one.server_name), checks
        )

    def _balanced(
        self,
        service: str,
        address: SharedAddress,
        tls: ServiceTls | None,
        headers: ServiceHeaders,
        checks: HealthChecks | None,
    ) -> StepClient:
        limit = self._settings.max_message_bytes

        def make(endpoint: Endpoint) -> StepClient:
            is_grpc = address.transport in ("grpc", "grpcs")
            client = GrpcStepClient if is_grpc else HttpStepClient
            return client(
                endpoint.authority if is_grpc else address.url(endpoint),
                service=service,
                max_message_bytes=limit,
                tls=tls,
                headers=headers,
                server_name=endpoint.server_name,
            )

        return self._over_endpoints(service, address, make, checks)

    def _over_endpoints(
        self,
        service: str,
        address: SharedAddress,
        make: MakeClient,
        checks: HealthChecks | None,
    ) -> BalancedStepClient:
        try:
            source = source_of(address, self._settings, service=service)
        except SettingsError as error:
            raise SettingsError(f"service {service!r}: {error}") from error
        return BalancedStepClient(source, make, service=service, checks=checks)

    def _checks(
        self,
        address: SharedAddress,
        access: ServiceAccess,
        tls: ServiceTls | None,
        headers: ServiceHeaders,
    ) -> HealthChecks | None:
        if access.health is None:
            return None
        check = (
            over_grpc(tls, headers)
            if access.health == "grpc"
            else over_http(address.transport, access.health, tls, headers)
        )
        return HealthChecks(check, every_s=self._settings.health_every_s)

    def _target(self, service: str) -> tuple[str, str]:
        """The scheme of a service's address, and the argument of its client: a host or a URL."""
        field = field_of(service)
        extra = self._settings.extra_addresses()
        address = self._settings.addresses().get(field)
        if not SERVICE_NAME.fullmatch(service) or address is None:
            raise SettingsError(
                f"service {service!r} is unknown: there is no address for it "
                f"(ORCH_SERVICES_EXTRA={service}=grpc://host:port)"
            )
        variable = "ORCH_SERVICES_" + ("EXTRA" if field in extra else field.upper())
        return parsed_address(variable, address)
