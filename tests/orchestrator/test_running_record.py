"""Which variables a command takes from the system that ``orchestrator dev`` runs."""

import pytest

from orchestrator.running.address import dsn_address, masked_dsn
from orchestrator.running.record import RunningSystem, found_variables, shared_variables

DSN = "postgresql://orchestrator:secret-word@127.0.0.1:5432/orchestrator"
VARIABLES = {
    "ORCH_API_SERVER": "127.0.0.1:9000",
    "ORCH_KAFKA_BOOTSTRAP": "127.0.0.1:9092",
    "ORCH_POSTGRES_DSN": DSN,
    "ORCH_TOPICS_PARTITIONS": "4",
}
SYSTEM = RunningSystem(
    pid=1,
    identity="1",
    started_at="2026-05-01T18:02:00+02:00",
    folder="/x/.orchestrator",
    http="http://127.0.0.1:8000",
    variables=VARIABLES,
)


def test_without_variables_a_command_takes_all_of_the_running_system() -> None:
    assert found_variables({"PATH": "/bin"}, SYSTEM) == VARIABLES


def test_a_variable_that_is_set_wins() -> None:
    taken = found_variables({"ORCH_TOPICS_PARTITIONS": "8"}, SYSTEM)

    assert "ORCH_TOPICS_PARTITIONS" not in taken
    assert taken["ORCH_KAFKA_BOOTSTRAP"] == "127.0.0.1:9092"


@pytest.mark.parametrize("name", ["ORCH_KAFKA_BOOTSTRAP", "ORCH_POSTGRES_DSN", "ORCH_API_SERVER"])
def test_a_command_never_works_on_the_servers_of_two_systems(name: str) -> None:
    assert found_variables({name: "another:1"}, SYSTEM) == {}


def test_the_address_of_the_running_system_itself_leaves_the_others_to_be_found() -> None:
    taken = found_variables({"ORCH_KAFKA_BOOTSTRAP": "127.0.0.1:9092"}, SYSTEM)

    assert taken["ORCH_POSTGRES_DSN"] == DSN


def test_a_port_of_the_service_that_is_set_wins_over_the_address_that_was_found() -> None:
    assert "ORCH_API_SERVER" not in found_variables({"ORCH_API_GRPC_PORT": "9001"}, SYSTEM)


def test_what_belongs_to_one_process_is_not_shared() -> None:
    own = {
        "ORCH_API_GRPC_PORT": "9000",
        "ORCH_DEMO_FAULTS": "[]",
        "ORCH_DEV_FIND": "false",
        "ORCH_KAFKA_INSTANCE_ID": "router",
        "ORCH_LOG_LEVEL": "debug",
        "ORCH_METRICS_PORT": "1",
    }

    assert shared_variables({**own, "HOME": "/", "ORCH_TOPICS_PREFIX": "a."}) == {
        "ORCH_TOPICS_PREFIX": "a."
    }


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        (DSN, "postgresql://orchestrator:***@127.0.0.1:5432/orchestrator"),
        ("postgresql://127.0.0.1/x?user=u&password=secret-word", "postgresql://127.0.0.1/x"),
        ("postgres://u@h/x", "postgres://u@h/x"),
        ("host=h password=secret-word", "***"),
        ("postgresql://u:secret-word@[::1/x", "***"),
    ],
)
def test_a_dsn_is_shown_without_its_password(dsn: str, shown: str) -> None:
    assert masked_dsn(dsn) == shown


@pytest.mark.parametrize(
    ("dsn", "address"),
    [
        (DSN, "127.0.0.1:5432"),
        ("postgresql://u:p@h/x", "h:5432"),
        ("postgresql://u:p@a:1,b/x", "a:1,b:5432"),
        ("password=secret-word", "***"),
    ],
)
def test_the_address_of_a_dsn_is_its_host_and_port(dsn: str, address: str) -> None:
    assert dsn_address(dsn) == address
