"""Reports usual ports that were taken, and the ports used instead. Pure."""

from collections.abc import Iterator

from orchestrator.local.dev.system import System
from orchestrator.local.embedded.kafka import USUAL_PORT as KAFKA_PORT
from orchestrator.local.embedded.postgres import USUAL_PORT as POSTGRES_PORT
from orchestrator.local.embedded.servers import Servers
from orchestrator.running.address import dsn_address
from orchestrator.settings import Settings


def ports_taken(settings: Settings, servers: Servers, system: System) -> Iterator[str]:
    """A sentence for each server that listens on another port than its usual one.

    A port that the user chose is not reported.
    """
    embedded = settings.embedded
    if servers.kafka is not None and embedded.kafka_port is None:
        yield from _taken("Kafka", KAFKA_PORT, servers.kafka_bootstrap)
    if servers.postgres is not None and embedded.postgres_port is None:
        yield from _taken("Postgres", POSTGRES_PORT, dsn_address(servers.postgres_dsn))
    if settings.api.http_port:
        yield from _taken("HTTP", settings.api.http_port, system.http_address)
    if settings.api.grpc_port:
        yield from _taken("gRPC", settings.api.grpc_port, system.grpc_address)


def _taken(name: str, usual: int, address: str) -> Iterator[str]:
    port = int(address.rpartition(":")[2])
    if port != usual:
        yield f"{name} listens on {port}: {usual} is in use"
