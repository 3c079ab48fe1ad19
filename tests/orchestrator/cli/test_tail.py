"""`orchestrator tail`, on topics of its own."""

import asyncio
import json
import uuid
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from orchestrator.cli.app import app
from schemas.dead_letter import Failure, FailureClass, Origin, Stage
from schemas.records import EventKind, Lane, Millis, StepCommand, StepName, TaskEvent, TaskId
from schemas.topics import Topics, TopicsSettings, dlq
from streams.envelopes import command_record, event_record
from streams.kafka.admin import Admin
from streams.kafka.dead_letters import DeadLetters
from streams.kafka.publisher import Outgoing, Publisher
from streams.settings import KafkaSettings
from tests.sinks.building import ALog
from tests.streams.building import a_topic

HOUR_MS = 3_600_000
BASE_MS = 1_760_000_000_000

Tail = Callable[..., list[dict[str, Any]]]


def an_event(event: TaskEvent, epoch: int, owner: str) -> TaskEvent:
    return msgspec.structs.replace(event, owner_epoch=epoch, owner=owner)


def a_marker(epoch: int, owner: str) -> TaskEvent:
    return TaskEvent(
        event_id=str(epoch),
        task_id=TaskId(""),
        tenant_id="",
        kind=EventKind.OWNERSHIP_TAKEN,
        occurred_at=Millis(0),
        owner=owner,
        owner_epoch=epoch,
    )


def a_command(task_id: str) -> StepCommand:
    return StepCommand(
        command_id=f"{task_id}/1/retrieve/1",  # type: ignore[arg-type]
        task_id=TaskId(task_id),
        tenant_id="acme",
        step=StepName("retrieve"),
        pipeline="rag",
        deadline_at=Millis(BASE_MS),
        dispatched_at=Millis(BASE_MS),
    )


def the_log() -> list[TaskEvent]:
    """Two owners; the first goes on writing after the second took over."""
    log = ALog()
    log.create("t1")
    log.create("t2")
    log.run_to_the_end("t1")
    events = [logged.event for logged in log.events]
    return [
        a_marker(1, "a"),
        *(an_event(event, 1, "a") for event in events[:2]),
        a_marker(2, "b"),
        an_event(events[2], 1, "a"),
        *(an_event(event, 2, "b") for event in events[2:]),
    ]


async def fill(topics: Topics, kafka: KafkaSettings) -> None:
    names = [topics.task_events, topics.task_created, topics.step(StepName("retrieve"), Lane.LOW)]
    async with Admin(kafka) as admin:
        await admin.apply([a_topic(n, partitions=1) for n in [*names, *map(dlq, names)]])
    publisher = Publisher(kafka, client_id="test")
    await publisher.open()
    for hours, event in enumerate(the_log()):
        record = event_record(topics, 0, event, {})
        at = BASE_MS + hours * HOUR_MS
        await publisher.publish([stamped(record, at)])
    commands = [command_record(topics, 0, a_command(n), Lane.LOW, {}) for n in ("t1", "t2")]
    await publisher.publish(commands)
    command = commands[0]
    origin = Origin(
        topic=command.topic,
        partition=0,
        offset=0,
        timestamp_ms=BASE_MS,
        key=command.key,
        value=command.value,
        headers=tuple(command.headers),
    )
    failure = Failure(
        stage=Stage.EXECUTE,
        failure_class=FailureClass.PERMANENT,
        code="SERVICE_REFUSED",
        message="",
    )
    letters = DeadLetters(publisher, group="g")
    await letters.publish([(origin, failure)])
    await publisher.publish(
        [Outgoing(topic=topics.task_created, partition=0, key=b"\x1b[2J", value=b"\x07\xff")]
    )
    await publisher.close()


def stamped(record: Outgoing, at: int) -> Outgoing:
    return Outgoing(
        topic=record.topic,
        partition=record.partition,
        key=record.key,
        value=record.value,
        headers=record.headers,
        timestamp_ms=at,
    )


@pytest.fixture(scope="module")
def variables(kafka_bootstrap: str) -> dict[str, str]:
    """The environment of a system whose topics are filled."""
    settings = TopicsSettings(prefix=f"{uuid.uuid4()}.")
    asyncio.run(fill(Topics(settings), KafkaSettings(bootstrap=kafka_bootstrap)))
    return {"ORCH_KAFKA_BOOTSTRAP": kafka_bootstrap, "ORCH_TOPICS_PREFIX": settings.prefix}


def lines(variables: dict[str, str], *arguments: str) -> list[str]:
    ended = CliRunner().invoke(app, ["tail", *arguments], env=variables, catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    return ended.stdout.splitlines()


@pytest.fixture
def tail(variables: dict[str, str]) -> Tail:
    def run(*arguments: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in lines(variables, *arguments, "--until-end")]

    return run


def offsets(records: list[dict[str, Any]]) -> list[int]:
    return [record["offset"] for record in records]


def test_events_of_a_former_owner_are_left_out_and_marked_with_raw(tail: Tail) -> None:
    raw = tail("task-events", "--from-start", "--raw")

    assert offsets(tail("task-events", "--from-start")) == [0, 1, 2, 3, 5, 6]
    assert offsets(raw) == [0, 1, 2, 3, 4, 5, 6]
    assert offsets([record for record in raw if record.get("ignored")]) == [4]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--task", "t2"], [2]),
        (["--tenant", "acme"], [1, 2, 5, 6]),
        (["--tenant", "other"], []),
        (["--kind", "completed"], [6]),
        (["--step", "retrieve"], [5]),
        (["--type", "rag"], [1, 2, 5, 6]),
        (["--type", "chat"], []),
        (["--type", "rag", "--kind", "completed", "--task", "t1"], [6]),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_filters_leave_what_matches_all_of_them(
    tail: Tail, arguments: list[str], expected: list[int]
) -> None:
    assert offsets(tail("task-events", "--from-start", *arguments)) == expected


def test_a_span_of_time_is_read_and_nothing_else(tail: Tail) -> None:
    span = ("--since", "2025-10-09T10:00", "--until", "2025-10-09T14:00+00:00")

    assert offsets(tail("task-events", *span)) == [2, 3, 5]


def test_a_reader_that_begins_after_the_marker_finds_the_owner_before_it(tail: Tail) -> None:
    # Offset 4 is the former owner's; the marker of the present one is at 3.
    assert offsets(tail("task-events", "--since", "2025-10-09T12:00")) == [5, 6]


def test_step_topics_are_filtered_by_the_same_names(tail: Tail) -> None:
    found = tail("steps.retrieve.low", "--from-start", "--task", "t2", "--type", "rag")

    assert [record["value"]["command_id"] for record in found] == ["t2/1/retrieve/1"]


def test_a_dead_letter_shows_why_and_its_value_decoded(tail: Tail) -> None:
    [letter] = tail("dlq.steps.retrieve.low", "--from-start", "--task", "t1", "--step", "retrieve")

    assert letter["dead_letter"]["code"] == "SERVICE_REFUSED"
    assert letter["dead_letter"]["stage"] == "execute"
    assert letter["value"]["command_id"] == "t1/1/retrieve/1"


def test_what_does_not_decode_is_shown_as_hex_with_the_reason(tail: Tail) -> None:
    [shown] = tail("task-created", "--from-start")

    assert shown["value_hex"] == "07ff"
    assert shown["undecodable"].startswith("MAGIC_UNKNOWN")


def test_a_table_has_one_line_a_record_and_no_control_characters(
    variables: dict[str, str],
) -> None:
    table = lines(variables, "task-events", "--from-start", "--until-end", "-o", "table")
    hostile = lines(variables, "task-created", "--from-start", "--until-end", "-o", "table")

    assert table[0].split()[:4] == ["time", "(UTC)", "position", "kind"]
    assert table[-1].split()[:5] == ["2025-10-09", "14:53:20.000", "0/6", "completed", "t1"]
    assert len(table) == 7
    assert len(hostile) == 2
    assert "\x1b" not in hostile[1]


@pytest.mark.parametrize(
    "wrong", [["--since", "yesterday"], ["-o", "xml"], ["--until", "5 o'clock"]]
)
def test_a_wrong_option_is_refused_with_what_is_right(
    variables: dict[str, str], wrong: list[str]
) -> None:
    ended = CliRunner().invoke(app, ["tail", "task-events", *wrong], env=variables)

    assert ended.exit_code == 2
    assert wrong[0] in ended.output
