"""The service of one replica: its memory, its use cases, and both servers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import grpc
import structlog
import uvicorn
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from orchestrator.acls import SERVE
from orchestrator.api.access.access import Access
from orchestrator.api.access.key_file import parse_keys
from orchestrator.api.access.key_ring import KeyRing
from orchestrator.api.access.keys import Keys
from orchestrator.api.access.oidc.tokens import Tokens
from orchestrator.api.grpc.letter_service import add_letters_to
from orchestrator.api.grpc.service import add_to
from orchestrator.api.http.app import READY, http_app
from orchestrator.api.http.protocol import bounded_protocol
from orchestrator.api.http.websocket import SocketLogFilter
from orchestrator.api.limits.rates import Rates
from orchestrator.api.limits.settings import ApiLimitsSettings
from orchestrator.api.limits.tenants import TenantLimits
from orchestrator.api.registration.registering import Registration, entries_of, registry_of
from orchestrator.api.replica.follower import ReplicaFollower, ReplicaFollowerParts
from orchestrator.api.replica.live_tasks import LiveTasks
from orchestrator.api.replica.log_scan import LogScan
from orchestrator.api.replica.parts import Parts
from orchestrator.api.replica.producer import TaskProducer
from orchestrator.api.replica.projection import Projection
from orchestrator.api.settings import ApiSettings
from orchestrator.api.tls.certificate import ServerCertificate
from orchestrator.api.use_cases import UseCases
from orchestrator.checks import check_cluster
from orchestrator.layout import ROUTER, rules_of, topic_table
from orchestrator.pipelines import installed_pipelines
from orchestrator.schema_ids import use_schema_ids
from orchestrator.settings import Settings
from schemas.errors import SettingsError
from schemas.gen.orchestrator.v1 import dead_letters_pb2, orchestrator_pb2
from schemas.topics import Topics
from streams.clock import now_ms
from streams.health import Health
from streams.kafka.patience import waits, when_there
from streams.watched_file import WatchedFile

log = structlog.get_logger()

_GRACE_S = 3.0
_SOCKET_LOG_FILTER = SocketLogFilter()
_SERVICES = (
    orchestrator_pb2.DESCRIPTOR.services_by_name["Orchestrator"].full_name,
    dead_letters_pb2.DESCRIPTOR.services_by_name["DeadLetters"].full_name,
)


@dataclass(frozen=True, slots=True)
class Serving:
    """A running replica."""

    grpc_address: str
    http_address: str
    parts: Parts
    follower: asyncio.Task[None]
    """Ends only if memory can no longer be kept up to date."""
    health: HealthServicer
    """The gRPC health service, which reports whether this replica takes calls."""
    registration: Registration | None
    """In a registry; None: nowhere."""

    async def drain(self, for_s: float) -> None:
        """Report that this replica is not ready, and go on serving for ``for_s``."""
        self.parts.draining.set()
        await self.health.enter_graceful_shutdown()
        if self.registration is not None:
            await self.registration.leave()
        log.info("draining", http=self.http_address, seconds=for_s)
        await asyncio.sleep(for_s)


async def serve(settings: Settings, stopping: asyncio.Event, health: Health) -> None:
    """Serve until ``stopping`` is set.

    Args:
        settings: of the system.
        stopping: is set to end the service.
        health: says what the start waits for, and later which part is not ready.

    Raises:
        SettingsError: a required setting is missing, or a port is taken.
        TopicsDifferError: topics are missing or differ; nothing was served.
        KafkaRefusedError: a broker refuses the login, the certificate or a right.
    """
    starting = asyncio.current_task()
    assert starting is not None
    told = asyncio.create_task(_cancel_when(stopping, starting))
    try:
        await _serve(settings, stopping, told, health)
    except asyncio.CancelledError:
        # It may have been stopped while it waited for a broker: nothing was served.
        if not stopping.is_set():
            raise


async def _serve(
    settings: Settings, stopping: asyncio.Event, told: asyncio.Task[None], health: Health
) -> None:
    health.starting("reads the logs")
    async with open_service(settings) as serving:
        told.cancel()
        health.add("waits", waits)
        health.add("replica", partial(_not_ready, serving.parts))
        health.started()
        waiting = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait([waiting, serving.follower], return_when=asyncio.FIRST_COMPLETED)
            if serving.follower.done():
                # Answers would become more and more outdated: the supervisor starts another
                # process.
                serving.follower.result()
            await serving.drain(settings.api.drain_s)
        finally:
            waiting.cancel()
        log.info("stopping", http=serving.http_address)


@asynccontextmanager
async def open_service(settings: Settings) -> AsyncIterator[Serving]:
    """A running replica; it is stopped at the end. While no broker answers, it waits.

    It answers as soon as its memory is complete (``/readyz``, gRPC health).
    """
    if not settings.kafka.bootstrap:
        raise SettingsError("ORCH_KAFKA_BOOTSTRAP is not set")
    certificate = ServerCertificate(settings.api_tls) if settings.api_tls.on else None
    ring = ring_of(settings.api)
    registry = registry_of(settings.api, settings.services)
    _check_ports(settings.api)
    pipelines = installed_pipelines(settings.pipelines)
    first_contact = partial(check_cluster, SERVE, settings, pipelines)
    await when_there("kafka", first_contact, refusals_wait=False)
    await use_schema_ids(settings)
    topics = Topics(settings.topics)
    live = LiveTasks(topics, ended_max=settings.api.ended_max)
    projection = Projection(settings.postgres)
    producer = TaskProducer(settings.kafka, topics, timeout_s=settings.api.publish_timeout_s)
    follower = ReplicaFollower(
        ReplicaFollowerParts(
            kafka=settings.kafka,
            topics=topics,
            pipelines=pipelines,
            router_group=settings.topics.prefix + ROUTER,
            live=live,
            projection=projection,
        )
    )
    parts = Parts(
        settings=settings.api,
        system=settings,
        topics=topics,
        rules=rules_of(settings, pipelines),
        live=live,
        follower=follower,
        projection=projection,
        log_scan=LogScan(settings.kafka, topics),
        producer=producer,
        tenants=TenantLimits(settings.api_limits, live),
        clock=now_ms,
        entropy=os.urandom,
    )
    tokens = None if settings.api.oidc is None else Tokens(settings.api.oidc)
    rates = Rates(settings.api_limits.requests_per_s, settings.api_limits.requests_burst)
    access = Access(ring, settings.api.open_tenant, tokens=tokens, rates=rates)
    use_cases = UseCases.of(access, parts)
    async with contextlib.AsyncExitStack() as stack:
        await when_there("kafka", producer.open)
        stack.push_async_callback(producer.close)
        stack.push_async_callback(projection.close)
        if tokens is not None:
            stack.push_async_callback(tokens.keys.close)
        stack.push_async_callback(use_cases.letter_replay.close)
        task = await stack.enter_async_context(_running(follower))
        await _until_ready(follower, task)
        grpc_address, health = await stack.enter_async_context(
            _grpc(use_cases, settings, certificate)
        )
        application = http_app(
            use_cases, settings.api, topic_table(settings, pipelines), lambda: _readiness(parts)
        )
        http_address = await stack.enter_async_context(_http(application, settings, certificate))
        stack.callback(live.wake_all)
        stack.callback(parts.closing.set)
        _tell(ring, settings.api, grpc_address, http_address)
        registration = None
        if registry is not None:
            entries = entries_of(settings.api, http_address, grpc_address)
            registration = Registration(registry, entries, lambda: _readiness(parts) == READY)
            await stack.enter_async_context(registration.running())
        yield Serving(grpc_address, http_address, parts, task, health, registration)


def ring_of(settings: ApiSettings) -> KeyRing:
    """The keys of the settings; SettingsError with the line if the file is wrong."""
    path, setting = settings.keys_file, "ORCH_API_KEYS_FILE"
    file = None if path is None else WatchedFile(path, parse_keys, setting=setting)
    return KeyRing(Keys.parse(settings.keys), file)


def _check_ports(settings: ApiSettings) -> None:
    """Refuse taken ports before the logs are read, which takes seconds.

    Raises:
        SettingsError: a port is taken; the message names its setting.
    """
    for name, port in (("HTTP", settings.http_port), ("GRPC", settings.grpc_port)):
        _listen(settings.host, port, setting=f"ORCH_API_{name}_PORT").close()


def _not_ready(parts: Parts) -> str | None:
    said = _readiness(parts)
    return None if said == READY else said


def _readiness(parts: Parts) -> str:
    if parts.draining.is_set():
        return "stopping"
    return READY if parts.follower.ready else "starting"


def _tell(ring: KeyRing, settings: ApiSettings, grpc_address: str, http_address: str) -> None:
    log.info("serving", grpc=grpc_address, http=http_address, keys=len(ring))
    if not settings.protected:
        log.warning("serving_without_keys", host=settings.host, tenant=settings.open_tenant)


@asynccontextmanager
async def _running(follower: ReplicaFollower) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(follower.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _until_ready(follower: ReplicaFollower, task: asyncio.Task[None]) -> None:
    """Wait until memory is complete, even while the broker is down; unbounded: cancel it."""
    ready = asyncio.create_task(follower.wait_ready())
    try:
        await asyncio.wait([ready, task], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        await ready
    finally:
        ready.cancel()


async def _cancel_when(stopping: asyncio.Event, starting: asyncio.Task[None]) -> None:
    await stopping.wait()
    starting.cancel()


@asynccontextmanager
async def _grpc(
    use_cases: UseCases, system: Settings, certificate: ServerCertificate | None
) -> AsyncIterator[tuple[str, HealthServicer]]:
    settings = system.api
    server = grpc.aio.server(
        options=_grpc_options(settings, system.api_limits),
        maximum_concurrent_rpcs=system.api_limits.grpc_calls_max,
    )
    add_to(server, use_cases, settings)
    add_letters_to(server, use_cases)
    health = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    names = (*_SERVICES, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)
    reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), server)
    address = f"{settings.host}:{settings.grpc_port}"
    try:
        if certificate is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, certificate.grpc_credentials())
    except RuntimeError as error:
        raise SettingsError(f"ORCH_API_GRPC_PORT: {settings.grpc_port} is taken") from error
    await server.start()
    for name in (*_SERVICES, ""):
        await health.set(name, health_pb2.HealthCheckResponse.SERVING)
    try:
        yield f"{settings.host}:{port}", health
    finally:
        await health.enter_graceful_shutdown()
        await server.stop(_GRACE_S)


def _grpc_options(settings: ApiSettings, limits: ApiLimitsSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.body_max_bytes),
        # Otherwise two replicas on one port would share it by chance.
        ("grpc.so_reuseport", 0),
        ("grpc.max_concurrent_streams", limits.grpc_streams_max),
        ("grpc.max_metadata_size", limits.header_max_bytes),
        ("grpc.absolute_max_metadata_size", limits.header_max_bytes),
        ("grpc.max_connection_idle_ms", round(limits.grpc_idle_s * 1000)),
        ("grpc.max_connection_age_ms", round(limits.grpc_age_s * 1000)),
        ("grpc.server_handshake_timeout_ms", round(limits.header_timeout_s * 1000)),
    ]


class _HttpServer(uvicorn.Server):
    """Uvicorn without signal handlers, because the process has its own; handshakes are bounded.

    Uvicorn has no setting for the time of a TLS handshake, which is 60 s then.
    """

    def __init__(self, config: uvicorn.Config, handshake_timeout_s: float) -> None:
        super().__init__(config)
        self._handshake_timeout_s = handshake_timeout_s

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        config, loop = self.config, asyncio.get_running_loop()
        made: Callable[..., asyncio.Protocol] = config.http_protocol_class
        protocol = partial(made, config=config, server_state=self.server_state, app_state={})
        timeout_s = None if config.ssl is None else self._handshake_timeout_s
        self.servers = [
            await loop.create_server(
                protocol,
                sock=listening,
                ssl=config.ssl,
                ssl_handshake_timeout=timeout_s,
                backlog=config.backlog,
            )
            for listening in sockets or []
        ]
        self.started = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def _http(
    application: object, settings: Settings, certificate: ServerCertificate | None
) -> AsyncIterator[str]:
    listening, limits = _listen(settings.api.host, settings.api.http_port), settings.api_limits
    config = uvicorn.Config(
        application,  # type: ignore[arg-type]  # an ASGI application
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=round(_GRACE_S),
        timeout_keep_alive=limits.keep_alive_s,  # type: ignore[arg-type]  # seconds for a timer
        http=bounded_protocol(limits),
        ws="websockets-sansio",
        ws_max_size=limits.websocket_frame_max_bytes,
    )
    logging.getLogger("uvicorn.error").addFilter(_SOCKET_LOG_FILTER)
    config.load()
    config.ssl = None if certificate is None else certificate.http_context()
    server = _HttpServer(config, limits.header_timeout_s)
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        while not server.started and not task.done():  # noqa: ASYNC110  # it offers no event
            await asyncio.sleep(0.01)
        host, port = listening.getsockname()[:2]
        yield f"{host}:{port}"
    finally:
        server.should_exit = True
        await asyncio.gather(task, return_exceptions=True)
        listening.close()


def _listen(host: str, port: int, setting: str = "ORCH_API_HTTP_PORT") -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise SettingsError(f"{setting}: {port} on {host}: {error.strerror}") from error
    return listening
