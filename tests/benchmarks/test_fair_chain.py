"""The fair floor writes what the rules would make of the same inputs."""

from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from benchmarks.chains.fair import FairRouter, work
from benchmarks.chains.fair_records import WRITER
from benchmarks.harness.arrivals import a_task
from benchmarks.harness.workload import TWO_STEPS
from schemas.codec import decode, encode
from schemas.records import Lane, Millis, StepResult, TaskCreated
from schemas.topics import Topics, TopicsSettings
from streams.envelopes import command_record, event_record
from streams.kafka.publisher import Outgoing
from streams.ownership.settings import RouterSettings
from streams.ownership.state_record import STATE_VERSION
from tasks.apply import apply
from tasks.decide import decide
from tasks.decision import Accepted, Rules
from tasks.effects import SendStep, effects
from tasks.inputs import Cause, Created, Input, Reported
from tasks.task import Task

TOPICS = Topics(TopicsSettings())
KEY = "task_00000000-0000-4000-8000-000000000001"
AT = Millis(1_700_000_000_000)
RULES = Rules(pipelines=TWO_STEPS.pipelines)
LANES = [TOPICS.step(step.name, Lane.NORMAL) for step in RULES.pipelines.get("bench").steps]  # type: ignore[union-attr]


class ByTheRules:
    """Routes as the owner of the task does, without proving anything."""

    def __init__(self) -> None:
        self.task: Task | None = None

    def route(self, record: Any) -> list[Outgoing]:
        decision = decide(self.task, given(record), now=AT, jitter=0.0, rules=RULES)
        assert isinstance(decision, Accepted)
        event = msgspec.structs.replace(decision.event, owner=WRITER, owner_epoch=1)
        before, self.task = self.task, apply(self.task, event)
        made = [event_record(TOPICS, record.partition, event, {})]
        for effect in effects(before, event, self.task, RULES.pipelines):
            assert isinstance(effect, SendStep)
            made.append(command_record(TOPICS, 0, effect.command, effect.lane, {}))
        return made


def given(record: Any) -> Input:
    cause = Cause(record.topic, record.partition, record.offset)
    if record.topic == TOPICS.task_created:
        return Created(cause, decode(record.value, TaskCreated))
    return Reported(cause, decode(record.value, StepResult))


def a_record(topic: str, value: bytes | None, offset: int = 0) -> Any:
    return SimpleNamespace(topic=topic, partition=0, offset=offset, value=value)


def run_one(route: Callable[[Any], list[Outgoing]]) -> list[Outgoing]:
    """All records that one task makes after the one that creates it."""
    waiting = deque([Outgoing(topic=TOPICS.task_created, partition=0, key=b"", value=CREATED)])
    found: list[Outgoing] = []
    while waiting:
        made = waiting.popleft()
        record = a_record(made.topic, made.value, offset=len(found))
        if made.topic in LANES:
            more = [work(TOPICS, record, AT)]
        else:
            more = [] if made.topic == TOPICS.task_events else route(record)
        found += more
        waiting += more
    return found


CREATED = encode(a_task(KEY))


def test_the_records_are_those_that_the_rules_make_byte_for_byte() -> None:
    floor = run_one(FairRouter(TOPICS, clock=lambda: AT).route)

    assert len(floor) == 7
    assert floor == run_one(ByTheRules().route)


def test_a_command_leads_to_the_result_that_a_task_completes_with() -> None:
    results = [r for r in run_one(ByTheRules().route) if r.topic == TOPICS.step_results]

    assert decode(results[-1].value, StepResult).output == TWO_STEPS.output
    assert decode(results[-1].value, StepResult).command_id.endswith("/noop_second/1")


def test_a_round_of_snapshots_has_each_changed_task_and_a_checkpoint() -> None:
    router = FairRouter(TOPICS, clock=lambda: AT)
    run_one(router.route)

    written = router.due_snapshots(RouterSettings(snapshot_events=3))

    assert [record.key for record in written] == [KEY.encode(), b"/checkpoint"]
    assert ("version", str(STATE_VERSION).encode()) in written[0].headers
    assert router.due_snapshots(RouterSettings(snapshot_events=1)) == []


def test_an_ended_task_is_forgotten_with_its_snapshot_and_a_live_one_is_not() -> None:
    router = FairRouter(TOPICS, clock=lambda: AT)
    results = [r for r in run_one(router.route) if r.topic == TOPICS.step_results]
    live = FairRouter(TOPICS, clock=lambda: AT)
    live.route(a_record(TOPICS.task_created, CREATED))

    for each in (router, live):
        assert each.due_snapshots(RouterSettings(snapshot_events=1))

    with pytest.raises(KeyError):
        router.route(a_record(TOPICS.step_results, results[0].value))
    assert live.route(a_record(TOPICS.step_results, results[0].value))
