"""``dev`` says which of its usual ports was taken, and what it listens on instead."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from orchestrator.local.dev.ports_taken import ports_taken
from orchestrator.local.dev.system import System
from orchestrator.local.embedded.kafka import EmbeddedKafka
from orchestrator.local.embedded.postgres import EmbeddedPostgres
from orchestrator.local.embedded.servers import Servers
from orchestrator.settings import load_settings

NOWHERE = Path("/nowhere")


def said(kafka: int, postgres: int, *, ours: bool = True, **variables: str) -> list[str]:
    """What is said of servers on these ports."""
    servers = Servers(
        kafka_bootstrap=f"127.0.0.1:{kafka}",
        postgres_dsn=f"postgresql://u:p@127.0.0.1:{postgres}/x",
        kafka=EmbeddedKafka(NOWHERE) if ours else None,
        postgres=EmbeddedPostgres(NOWHERE) if ours else None,
    )
    system: Any = SimpleNamespace(http_address="127.0.0.1:8000", grpc_address="127.0.0.1:9001")
    return list(ports_taken(load_settings(variables), servers, cast(System, system)))


def test_a_port_that_was_taken_is_named_beside_the_one_that_is_used() -> None:
    assert said(kafka=23456, postgres=5432) == [
        "Kafka listens on 23456: 9092 is in use",
        "gRPC listens on 9001: 9000 is in use",
    ]


def test_a_port_that_was_chosen_is_not_reported() -> None:
    chosen = said(
        1,
        5555,
        ORCH_EMBEDDED_KAFKA_PORT="0",
        ORCH_EMBEDDED_POSTGRES_PORT="5555",
        ORCH_API_GRPC_PORT="9001",
    )

    assert chosen == []


def test_servers_of_somebody_else_have_no_usual_port() -> None:
    assert said(kafka=1, postgres=2, ours=False, ORCH_API_GRPC_PORT="0") == []
