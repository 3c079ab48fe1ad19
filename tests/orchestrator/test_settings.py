"""Settings from the environment."""

from pathlib import Path

import pytest

from orchestrator.settings import load_settings
from schemas.errors import SettingsError


def test_a_variable_sets_its_field() -> None:
    settings = load_settings(
        {
            "ORCH_KAFKA_BOOTSTRAP": "a:1, b:2",
            "ORCH_TOPICS_PARTITIONS": "6",
            "ORCH_KAFKA_DRAIN_TIMEOUT_S": "2.5",
            "ORCH_EMBEDDED_DATA_DIR": "data",
        }
    )

    assert settings.kafka.servers == ["a:1", "b:2"]
    assert settings.topics.partitions == 6
    assert settings.kafka.drain_timeout_s == 2.5
    assert settings.embedded.data_dir == Path("data")


def test_an_unknown_variable_stops_the_start() -> None:
    with pytest.raises(SettingsError, match="ORCH_KAFKA_BOOTSTRAPS"):
        load_settings({"ORCH_KAFKA_BOOTSTRAPS": "a:1"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ORCH_TOPICS_PARTITIONS", "many"),
        ("ORCH_TOPICS_PARTITIONS", "0"),
        ("ORCH_KAFKA_SESSION_TIMEOUT_S", "1"),
        ("ORCH_TOPICS_PARTITIONS", "99999999999999999999"),
        ("ORCH_WORKER_SLOTS", "0"),
        ("ORCH_WORKER_DRAIN_S", "1e999"),
        ("ORCH_API_DRAIN_S", "nan"),
        ("ORCH_API_GRPC_PORT", "8000"),
        ("ORCH_KAFKA_BOOTSTRAP", ":::"),
        ("ORCH_KAFKA_BOOTSTRAP", ","),
        ("ORCH_KAFKA_BOOTSTRAP", "a:1,b:70000"),
        ("ORCH_KAFKA_BOOTSTRAP", "PLAINTEXT://a:9092"),
        ("ORCH_LOG_LEVEL", "loud"),
        ("ORCH_DEMO_FAULTS", "[{"),
    ],
)
def test_a_wrong_value_stops_the_start_and_names_the_variable(name: str, value: str) -> None:
    room = name.rsplit("_", 1)[0].split("_")[1]

    with pytest.raises(SettingsError, match=f"ORCH_{room}_"):
        load_settings({name: value})


@pytest.mark.parametrize("text", ["a", "a:1", "10.0.0.1:9092", "[::1]:9092", "a_b.c-d:1, e:2,"])
def test_every_form_of_a_broker_s_address_is_taken(text: str) -> None:
    assert load_settings({"ORCH_KAFKA_BOOTSTRAP": text}).kafka.bootstrap == text


def test_the_environment_wins_over_defaults() -> None:
    defaults = {"ORCH_TOPICS_PARTITIONS": "4", "ORCH_TOPICS_PREFIX": "x."}
    settings = load_settings({"ORCH_TOPICS_PARTITIONS": "8"}, defaults)

    assert (settings.topics.partitions, settings.topics.prefix) == (8, "x.")


def test_variables_of_others_are_left_alone() -> None:
    assert load_settings({"PATH": "/bin", "ORCHID": "1"}) == load_settings({})


def test_the_password_of_postgres_is_not_shown() -> None:
    settings = load_settings({"ORCH_POSTGRES_DSN": "postgresql://u:secret@h/d"})

    assert "secret" not in repr(settings)
