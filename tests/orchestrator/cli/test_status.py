"""``orchestrator status`` of servers that do not answer: bounded, and said."""

import socket
import time
from collections.abc import Iterator

import pytest

from tests.commands import run_command


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_server_that_never_answers_is_waited_for_no_longer_than_asked(silent: str) -> None:
    variables = {
        "ORCH_KAFKA_BOOTSTRAP": silent,
        "ORCH_POSTGRES_DSN": f"postgresql://user:secret-word@{silent}/x",
    }
    began = time.monotonic()
    ended = run_command(["status", "--timeout-s", "0.5", "-o", "json"], variables)
    took_s = time.monotonic() - began

    assert ended.status == 1
    assert took_s < 5
    assert "secret-word" not in ended.out + ended.err
    servers = {one["name"]: one for one in ended.document["servers"]}
    assert servers["kafka"]["problem"] == "no answer in 0.5 s"
    assert servers["postgres"]["address"] == silent
    assert not servers["postgres"]["answers"]
    assert (ended.document["lag"], ended.document["pid"]) == (None, None)
    assert ended.err == ""


def test_a_server_that_refuses_is_named_with_the_reason() -> None:
    ended = run_command(["status"], {"ORCH_KAFKA_BOOTSTRAP": "127.0.0.1:1"})

    assert ended.status == 1
    assert "kafka: KAFKA_UNAVAILABLE" in ended.out
    assert "postgres: its address is not set" in ended.out
    assert "consumer lag: not known" in ended.out


def test_without_a_system_and_without_variables_there_is_nothing_to_show() -> None:
    ended = run_command(["status"], {})

    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith("error SETTINGS_INVALID: ORCH_KAFKA_BOOTSTRAP and ORCH_POSTGRES_")
    assert "no running system was found: start one with `make run`" in ended.err
