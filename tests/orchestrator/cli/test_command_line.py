"""The command line, as processes."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ORCH_")}
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *arguments],
        env={**kept, "COLUMNS": "200", "ORCH_DEV_FIND": "false", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_topics_list_shows_every_topic_of_the_table() -> None:
    shown = run("topics", "list").stdout

    for name in ("task-created", "steps.retrieve.high", "task-events", "dlq.orchestrator.step-res"):
        assert name in shown


def test_topics_list_says_that_kafka_was_not_asked() -> None:
    [line] = run("topics", "list").stderr.splitlines()

    assert line.startswith("Kafka was not asked: ORCH_KAFKA_BOOTSTRAP is not set, ")
    assert "`make run`" in line


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        (["topics", "apply"], "ORCH_KAFKA_BOOTSTRAP is"),
        (["tail", "task-events"], "ORCH_KAFKA_BOOTSTRAP is"),
        (["dlq", "list"], "ORCH_KAFKA_BOOTSTRAP is"),
        (["migrate", "up"], "ORCH_POSTGRES_DSN is"),
        (["sink", "verify"], "ORCH_POSTGRES_DSN is"),
        (["status"], "ORCH_KAFKA_BOOTSTRAP and ORCH_POSTGRES_DSN are"),
        (["env"], "ORCH_KAFKA_BOOTSTRAP and ORCH_POSTGRES_DSN are"),
        (["doctor"], "ORCH_KAFKA_BOOTSTRAP and ORCH_POSTGRES_DSN are"),
    ],
)
def test_a_missing_setting_is_one_line_with_a_code(arguments: list[str], missing: str) -> None:
    ended = run(*arguments)
    these = "the variables" if missing.endswith("are") else "the variable"

    assert ended.returncode == 1
    assert ended.stderr == (
        f"error SETTINGS_INVALID: {missing} not set, and no running system was found: start one "
        f"with `make run` (`orchestrator dev`), or set {these}\n"
    )


def test_a_role_without_its_servers_is_one_line_with_a_code() -> None:
    ended = run("worker", "router")

    assert ended.returncode == 1
    assert ended.stderr == "error SETTINGS_INVALID: ORCH_KAFKA_BOOTSTRAP is not set\n"


@pytest.mark.parametrize("role", ["sink", "dlq-index", "all"])
def test_a_role_that_writes_rows_does_not_wait_for_a_postgres_that_nobody_named(role: str) -> None:
    ended = run("worker", role, ORCH_KAFKA_BOOTSTRAP="127.0.0.1:1")

    assert ended.returncode == 1
    assert ended.stderr.startswith("error SETTINGS_INVALID: ORCH_POSTGRES_DSN is not set, which ")


def test_an_unknown_setting_stops_every_command() -> None:
    ended = run("topics", "list", ORCH_KAFKA_BOOTSTRP="x")

    assert (ended.returncode, ended.stderr) == (
        1,
        "error SETTINGS_INVALID: unknown: ORCH_KAFKA_BOOTSTRP\n",
    )


def test_topics_are_applied_once_and_then_left_alone(kafka_bootstrap: str) -> None:
    variables = {
        "ORCH_KAFKA_BOOTSTRAP": kafka_bootstrap,
        "ORCH_TOPICS_PREFIX": "applied.",
        "ORCH_TOPICS_PARTITIONS": "1",
        "ORCH_TOPICS_REPLICATION_FACTOR": "1",
    }
    first, second = run("topics", "apply", **variables), run("topics", "apply", **variables)

    assert "created applied.task-created.v1" in first.stdout
    assert second.stdout == "0 created\n"


def test_another_number_of_partitions_is_refused(kafka_bootstrap: str) -> None:
    variables = {
        "ORCH_KAFKA_BOOTSTRAP": kafka_bootstrap,
        "ORCH_TOPICS_PREFIX": "counted.",
        "ORCH_TOPICS_REPLICATION_FACTOR": "1",
    }
    run("topics", "apply", ORCH_TOPICS_PARTITIONS="1", **variables)
    ended = run("worker", "router", ORCH_TOPICS_PARTITIONS="2", **variables)

    assert ended.returncode == 1
    assert "error TOPICS_DIFFER: ORCH_TOPICS_PARTITIONS: is 2; the " in ended.stderr
    assert "co-partitioned topics have 1." in ended.stderr


def test_a_role_does_not_start_without_its_topics(kafka_bootstrap: str) -> None:
    variables = {"ORCH_KAFKA_BOOTSTRAP": kafka_bootstrap, "ORCH_TOPICS_PREFIX": "none."}
    ended = run("worker", "router", **variables)

    assert ended.returncode == 1
    assert "orchestrator topics apply" in ended.stderr


def test_an_unknown_role_is_refused_with_the_known_ones() -> None:
    ended = run("worker", "painter", ORCH_KAFKA_BOOTSTRAP="127.0.0.1:1")

    assert ended.returncode == 2
    assert "step.retrieve" in ended.stderr


def test_a_broker_that_does_not_answer_is_one_line_with_a_code() -> None:
    ended = run("topics", "apply", ORCH_KAFKA_BOOTSTRAP="127.0.0.1:1")

    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("error KAFKA_UNAVAILABLE")


def test_migrations_are_applied_once_and_their_status_is_shown(postgres_dsn: str) -> None:
    first, second = (run("migrate", "up", ORCH_POSTGRES_DSN=postgres_dsn) for _ in range(2))
    status = run("migrate", "status", ORCH_POSTGRES_DSN=postgres_dsn)

    assert "applied 0001_pre_create_tasks.sql" in first.stdout
    assert second.stdout == "0 applied\n"
    assert "pending" not in status.stdout
