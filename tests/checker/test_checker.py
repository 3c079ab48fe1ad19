"""Each rule, broken once in evidence that is right otherwise, is found by its code."""

import ast
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.checker.check import check
from tests.checker.story import (
    COMMANDS,
    CONTROL,
    CREATED,
    DLQ,
    ERROR,
    EVENTS,
    GENERATE,
    RESULTS,
    RETRIEVE,
    STATE,
    USAGE,
    Story,
    a_story,
)
from tests.checker.wire import encode, home_of

Spoil = Callable[[Story], object]


def test_a_right_story_has_no_violations() -> None:
    verdict = check(a_story().evidence(), quiet=True)

    assert verdict.violations == ()


def the_last_event_in_another_life(story: Story) -> None:
    story.event("t1", "created", sequence=1, status="pending", phase="held", task=story.spec("t1"))


def another_end(story: Story) -> None:
    story.event("t1", "failed", status="failed")


def a_priority_after_the_end(story: Story) -> None:
    story.event("t1", "priority_changed", status="pending")


def a_second_event_for_an_input(story: Story) -> None:
    story.event("t3", "command_refused", (COMMANDS, 0, 1))


def an_input_without_an_event(story: Story) -> None:
    story.created("t4")


def a_command_without_an_answer(story: Story) -> None:
    story.order("t2", "cancel")


def a_retry_of_the_present_run_without_an_answer(story: Story) -> None:
    story.order("t2", "retry", run=1)


def a_dead_letter_of_a_decided_input(story: Story) -> None:
    story.dead_letter(story.records[CREATED][0], stage="validate", group="orchestrator.router")


def an_unreadable_input(story: Story) -> None:
    story.put_raw(CREATED, b"x", b"garbage")


def an_unreadable_event(story: Story) -> None:
    story.put_raw(EVENTS, b"x", b"garbage")


def an_unreadable_command(story: Story) -> None:
    story.put_raw(RETRIEVE, b"x", b"garbage")


def a_command_of_nobody(story: Story) -> None:
    story.records[RETRIEVE].append(
        replace(story.records[RETRIEVE][0], offset=5, key=b"t1", value=_renamed(story))
    )


def _renamed(story: Story) -> bytes:
    story.change((RETRIEVE, 0, 0), command_id="t1/1/retrieve/1")
    value = story.records[RETRIEVE][0].value
    assert value is not None
    return value.replace(b"t1/1/retrieve/1", b"t1/1/retrieve/9")


def other_bytes_of_a_command(story: Story) -> None:
    story.change((RETRIEVE, 0, 0), priority=5, timeout_ms=2)
    story.records[RETRIEVE].append(replace(a_story().records[RETRIEVE][0], offset=5))


def a_letter_of_another_value(story: Story) -> None:
    story.set_value((DLQ, 0, 0), b"other")


def a_letter_of_other_headers(story: Story) -> None:
    record = replace(story.records[RETRIEVE][0], headers=(("a", b"1"),))
    story.records[RETRIEVE][0] = record
    position = story.dead_letter(record, stage="decode", group="orchestrator.step.retrieve")
    letter = story.records[DLQ][position[2]]
    story.records[DLQ][position[2]] = replace(letter, headers=(("a", b"2"), *letter.headers[1:]))


def a_letter_without_a_code(story: Story) -> None:
    letter = story.records[DLQ][0]
    kept = tuple(pair for pair in letter.headers if pair[0] != "__dlq.errors.code")
    story.records[DLQ][0] = replace(letter, headers=kept)


def a_deadlines_letter_of_another_class(story: Story) -> None:
    letter = story.records[DLQ][1]
    headers = tuple(
        (name, b"TIMEOUT" if name == "__dlq.errors.class" else value)
        for name, value in letter.headers
    )
    story.records[DLQ][1] = replace(letter, headers=headers)


def a_held_task_that_is_too_late(story: Story) -> None:
    task = {"status": "pending", "phase": "held", "task": story.spec("t4")}
    story.event("t4", "created", story.created("t4"), **task)
    story.event("t4", "failed", status="failed", error={**ERROR, "code": "DEADLINE_EXCEEDED"})


def a_checkpoint_before_its_snapshot(story: Story) -> None:
    story.drop((STATE, 0, 1))


def a_late_snapshot_after_the_checkpoint(story: Story) -> None:
    story.records[STATE][1] = replace(story.records[STATE][0], offset=1)
    story.snapshot("t2", 13, sequence=3, run=1, status="failed")


def a_snapshot_of_nobody(story: Story) -> None:
    story.change((STATE, 0, 0), owner="owner-2")


def a_forgotten_task(story: Story) -> None:
    story.put_raw(STATE, b"t1", None, (("as_of", b"13"),))


def a_lost_timer(story: Story) -> None:
    """A retry that is due for ever: nothing after its scheduling."""
    story.records[EVENTS] = [r for r in story.records[EVENTS] if r.offset < 7]
    story.records[RETRIEVE] = [r for r in story.records[RETRIEVE] if r.offset < 2]
    story.records[RESULTS] = [r for r in story.records[RESULTS] if r.offset < 4]


def a_task_beyond_its_deadline(story: Story) -> None:
    story.records[EVENTS] = [r for r in story.records[EVENTS] if r.offset < 12]


BROKEN: dict[str, tuple[Spoil, str]] = {
    "a gap": (lambda s: s.change((EVENTS, 0, 3), sequence=9), "SEQUENCE_WRONG"),
    "no beginning": (lambda s: s.drop((EVENTS, 0, 1)), "BEGINNING_MISSING"),
    "a second life too early": (the_last_event_in_another_life, "CREATED_TWICE"),
    "two ends": (another_end, "TWO_ENDS"),
    "an event after the end": (a_priority_after_the_end, "EVENT_AFTER_END"),
    "a run of its own": (lambda s: s.change((EVENTS, 0, 3), run=2), "RUN_WRONG"),
    "another status": (lambda s: s.change((EVENTS, 0, 4), status="failed"), "STATUS_WRONG"),
    "another tenant": (lambda s: s.change((EVENTS, 0, 4), tenant_id="b"), "TENANT_CHANGED"),
    "time backwards": (lambda s: s.change((EVENTS, 0, 4), occurred_at=1), "TIME_BACKWARDS"),
    "an end of no step": (lambda s: s.change((EVENTS, 0, 4), step=None), "STEP_MISSING"),
    "another step": (lambda s: s.change((EVENTS, 0, 3), dispatched=[]), "STEP_NOT_OUTSTANDING"),
    "a wrong sum": (
        lambda s: s.change((EVENTS, 0, 4), usage={**USAGE, "cost_micros": 9}),
        "USAGE_SUM_WRONG",
    ),
    "another key": (lambda s: _key(s, (EVENTS, 0, 1)), "EVENT_MISPLACED"),
    "an input decided twice": (a_second_event_for_an_input, "INPUT_DECIDED_TWICE"),
    "inputs out of order": (
        lambda s: s.change((EVENTS, 0, 2), cause_offset=7),
        "DECIDED_OUT_OF_ORDER",
    ),
    "a lost task": (an_input_without_an_event, "INPUT_LOST"),
    "a lost order": (a_command_without_an_answer, "INPUT_LOST"),
    "a lost retry": (a_retry_of_the_present_run_without_an_answer, "INPUT_LOST"),
    "a lost result": (lambda s: s.drop((EVENTS, 0, 7)), "INPUT_LOST"),
    "a result that did not count": (
        lambda s: s.change((EVENTS, 0, 3), cause_offset=7),
        "INPUT_LOST",
    ),
    "an event of no input": (lambda s: s.drop((CREATED, 0, 0)), "CAUSE_UNKNOWN"),
    "an event of another input": (
        lambda s: s.change((EVENTS, 0, 9), kind="priority_changed"),
        "CAUSE_WRONG",
    ),
    "dead-lettered and decided": (a_dead_letter_of_a_decided_input, "DEAD_LETTERED_AND_DECIDED"),
    "an unreadable input": (an_unreadable_input, "UNREADABLE_NOT_DEAD_LETTERED"),
    "an unreadable event": (an_unreadable_event, "UNREADABLE_NOT_DEAD_LETTERED"),
    "an unreadable command": (an_unreadable_command, "UNREADABLE_NOT_DEAD_LETTERED"),
    "an unanswered command": (
        lambda s: s.change((RESULTS, 0, 2), kind="started"),
        "COMMAND_UNANSWERED",
    ),
    "another output": (lambda s: s.change((RESULTS, 0, 2), output='"c"'), "RESULT_DIFFERS"),
    "the answer to another command": (
        lambda s: s.change((RESULTS, 0, 2), output='{"answers": "t9/1/generate/1"}'),
        "ANSWER_OF_ANOTHER",
    ),
    "another usage": (lambda s: s.change((RESULTS, 0, 1), usage=None), "RESULT_DIFFERS"),
    "a command that was not sent": (lambda s: s.drop((GENERATE, 0, 0)), "COMMAND_MISSING"),
    "a command in another lane": (lambda s: _lane(s, "high"), "COMMAND_MISSING"),
    "a command of nobody": (a_command_of_nobody, "COMMAND_WITHOUT_EVENT"),
    "a command unlike its event": (
        lambda s: s.change((GENERATE, 0, 0), input="[]"),
        "COMMAND_WRONG",
    ),
    "two contents of a command": (other_bytes_of_a_command, "COMMAND_BYTES_DIFFER"),
    "a command with another key": (lambda s: _key(s, (RETRIEVE, 0, 0)), "COMMAND_MISPLACED"),
    "a result of no command": (
        lambda s: s.change((RESULTS, 0, 2), command_offset=9),
        "RESULT_WITHOUT_COMMAND",
    ),
    "a lost timer": (a_lost_timer, "RETRY_NOT_SENT"),
    "a deadline that passed": (a_task_beyond_its_deadline, "DEADLINE_NOT_KEPT"),
    "no dead letter": (lambda s: s.drop((DLQ, 0, 0)), "DEAD_LETTER_MISSING"),
    "no dead letter of a deadline": (lambda s: s.drop((DLQ, 0, 1)), "DEADLINE_NOT_DEAD_LETTERED"),
    "a dead letter of a deadline of another class": (
        a_deadlines_letter_of_another_class,
        "DEADLINE_NOT_DEAD_LETTERED",
    ),
    "a held task without a dead letter of its deadline": (
        a_held_task_that_is_too_late,
        "DEADLINE_NOT_DEAD_LETTERED",
    ),
    "no broadcast": (lambda s: s.drop((CONTROL, 0, 0)), "CONTROL_MISSING"),
    "no broadcast at a deadline": (lambda s: s.drop((CONTROL, 0, 1)), "CONTROL_MISSING"),
    "a broadcast of nobody": (lambda s: s.change((CONTROL, 0, 0), run=7), "CONTROL_WITHOUT_EVENT"),
    "another dead letter": (a_letter_of_another_value, "LETTER_DIFFERS"),
    "other headers of a dead letter": (a_letter_of_other_headers, "LETTER_DIFFERS"),
    "a dead letter without a code": (a_letter_without_a_code, "LETTER_HEADERS_WRONG"),
    "a dead letter of nothing": (lambda s: s.drop((RETRIEVE, 0, 2)), "LETTER_OF_NOTHING"),
    "a snapshot that is wrong": (lambda s: s.change((STATE, 0, 0), as_of=3), "SNAPSHOT_WRONG"),
    "a snapshot of nobody": (a_snapshot_of_nobody, "SNAPSHOT_OWNER_UNKNOWN"),
    "a checkpoint without a snapshot": (a_late_snapshot_after_the_checkpoint, "CHECKPOINT_AHEAD"),
    "a checkpoint beyond the end": (lambda s: s.checkpoint(99), "CHECKPOINT_AHEAD"),
    "a checkpoint of nobody": (lambda s: s.checkpoint(13, epoch=2), "CHECKPOINT_WRONG"),
    "a checkpoint that skips an input": (lambda s: _skips(s), "INPUT_LOST"),
    "forgotten too early": (a_forgotten_task, "FORGOTTEN_TOO_EARLY"),
    "a tombstone as of nothing": (lambda s: s.put_raw(STATE, b"t9", None), "SNAPSHOT_WRONG"),
    "a row that is not there": (lambda s: s.drop_row("tasks", 0), "ROW_MISSING"),
    "a row that differs": (lambda s: s.change_row("tasks", 0, status="failed"), "ROW_DIFFERS"),
    "a row of no task": (lambda s: s.change_row("tasks", 0, id="t9"), "ROW_WITHOUT_EVENTS"),
    "a row that leaves out outputs and does not say so": (
        lambda s: s.leave_out_outputs(),
        "ROW_DIFFERS",
    ),
    "an attempt that is not there": (lambda s: s.drop_row("task_steps", 0), "ROW_MISSING"),
    "an attempt that differs": (lambda s: s.change_row("task_steps", 0, output=1), "ROW_DIFFERS"),
    "an attempt of no task": (lambda s: s.change_row("task_steps", 0, run=9), "ROW_WITHOUT_EVENTS"),
    "no audit trail": (lambda s: s.drop_row("task_execution_logs", 0), "ROW_MISSING"),
    "another audit trail": (
        lambda s: s.change_row("task_execution_logs", 0, actor="b"),
        "ROW_DIFFERS",
    ),
    "a sink behind": (
        lambda s: s.change_row("sink_offsets", 0, next_offset=12),
        "SINK_POSITION_WRONG",
    ),
    "a sink of another owner": (
        lambda s: s.change_row("sink_offsets", 0, epoch=2),
        "SINK_POSITION_WRONG",
    ),
}


def _key(story: Story, position: tuple[str, int, int]) -> None:
    topic, _, offset = position
    story.records[topic][offset] = replace(story.records[topic][offset], key=b"another")


def _lane(story: Story, lane: str) -> None:
    story.change(
        (EVENTS, 0, 11), dispatched=[{**story.dispatched("t3", "retrieve", run=2)[0], "lane": lane}]
    )
    story.change((EVENTS, 0, 12), step=None)
    story.drop((RESULTS, 0, 6))


def _skips(story: Story) -> None:
    story.not_committed.add(("router", CREATED))
    story.created("t4")
    story.checkpoint(13, decided_created=4)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_found(name: str) -> None:
    spoil, code = BROKEN[name]
    story = a_story()
    spoil(story)

    verdict = check(story.evidence(), quiet=True)

    assert code in verdict.codes, str(verdict)


def test_an_output_that_a_row_names_as_omitted_is_that_of_its_attempt() -> None:
    story = a_story()
    story.leave_out_outputs("output")

    assert check(story.evidence(), quiet=True).violations == ()


def test_events_of_a_former_owner_count_for_nothing() -> None:
    story = a_story()
    story.marker(2, "owner-2")
    story.event("t1", "failed", status="failed", owner="owner-1", owner_epoch=1)
    story.marker(4, "owner-4")

    verdict = check(story.evidence(), quiet=True)

    assert verdict.violations == ()
    assert (verdict.statistics.zombie_events, verdict.statistics.ignored_events) == (1, 2)


def test_a_record_in_another_partition_needs_a_copy_in_its_own() -> None:
    value = {"task_id": "t9", "tenant_id": "acme", "type": "rag", "created_at": 1}
    evidence = a_story().evidence()
    home = home_of(b"t9", 2)
    astray = replace(
        evidence.records[CREATED, 0][0],
        partition=1 - home,
        offset=0,
        key=b"t9",
        value=encode(value, "TaskCreated"),
    )
    records = {(CREATED, 1 - home): [astray]}
    lost = replace(
        evidence,
        partitions=2,
        records=records,
        committed={("router", CREATED, 1 - home): 1},
        tables=None,
        ends={},
    )
    found = replace(lost, records={**records, (CREATED, home): [replace(astray, partition=home)]})

    assert check(lost).codes == {"NOT_FORWARDED"}
    assert check(found).codes == set()


def test_a_late_tombstone_from_before_a_task_is_old_but_not_wrong() -> None:
    story = a_story()
    story.put_raw(STATE, b"t3", None, (("as_of", b"8"),))

    assert check(story.evidence(), quiet=True).violations == ()


def test_a_topic_that_was_made_again_holds_no_causes_of_earlier_events() -> None:
    story = a_story()
    story.records[CREATED] = []
    story.created("t9")
    before = check(story.evidence(), quiet=True).codes
    said = json.dumps({"topic": CREATED, "made_again": True, "at": 10_000})
    value = {"task_id": "", "owner": "ada", "owner_epoch": 0, "as_of": 0, "state": said}
    story.put(STATE, value, key=f"/adoption/{CREATED}")

    assert "CAUSE_UNKNOWN" in before
    assert "INPUT_LOST" not in before
    assert check(story.evidence(), quiet=True).codes == {"INPUT_LOST"}


@pytest.mark.parametrize(("kept", "codes"), [(b"a", set()), (b"b", {"LETTER_DIFFERS"})])
def test_a_letter_may_be_cut_but_begins_as_its_record(kept: bytes, codes: set[str]) -> None:
    story = a_story()
    topic, _, offset = story.put_raw(CREATED, b"x", b"a" * 100)
    record = story.records[topic][offset]
    at = story.dead_letter(record, stage="decode", group="orchestrator.router")
    letter = story.records[at[0]][at[2]]
    marks = (
        ("__dlq.cut.value.bytes", b"100"),
        ("__dlq.cut.sha256", hashlib.sha256(b"a" * 100).hexdigest().encode()),
    )
    story.records[at[0]][at[2]] = replace(
        letter, value=kept * 10, headers=(*letter.headers, *marks)
    )

    assert check(story.evidence(), quiet=True).codes == codes


def test_probes_of_the_clock_and_adoptions_are_no_snapshots() -> None:
    story = a_story()
    story.put_raw(STATE, b"/clock", None)

    assert check(story.evidence(), quiet=True).violations == ()


def test_effects_of_events_that_are_not_committed_yet_may_be_under_way() -> None:
    story = a_story()
    story.not_committed |= {("router", topic) for topic in (CREATED, COMMANDS, RESULTS)}
    story.drop((STATE, 0, 3))
    story.drop((GENERATE, 0, 0))
    story.drop((DLQ, 0, 0))

    codes = check(story.evidence()).codes

    assert "COMMAND_MISSING" not in codes
    assert "DEAD_LETTER_MISSING" not in codes


def test_the_checker_imports_no_product_code() -> None:
    ours = {"schemas", "tasks", "streams", "sinks", "agents", "orchestrator"}
    for path in Path(__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []

            assert not ours & {module.split(".")[0] for module in modules}, path.name
