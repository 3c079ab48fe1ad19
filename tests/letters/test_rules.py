"""The rules of dead letters, without any server."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.codec import decode, encode
from schemas.dead_letter import (
    Failure,
    FailureClass,
    FetchFault,
    Origin,
    ReplayMark,
    Stage,
    dead_letter_headers,
    replay_headers,
)
from schemas.dead_letter_record import read_dead_letter
from schemas.headers import header_text
from schemas.records import (
    CommandId,
    CommandKind,
    DeadLetterActionKind,
    Json,
    Millis,
    StepCommand,
    StepName,
    TaskCommand,
    TaskCreated,
    TaskEvent,
    TaskId,
)
from schemas.topics import Topics, dlq
from tasks.letters.edited_value import (
    EditRefusedError,
    an_object,
    as_value,
    fields_of,
    with_changes,
)
from tasks.letters.filter import LetterFilter
from tasks.letters.histogram import histogram
from tasks.letters.known import KnownLetters
from tasks.letters.ledger import Ledger, LetterStatus
from tasks.letters.plan import Park, ReplayOrder, Send, Skip, WriteRows, plan
from tests.letters.building import a_case, a_letter, an_action

TOPICS = Topics()
NOW = Millis(9_000)
ORDER = ReplayOrder(replay_id="r", actor="ada", reason="mended")
FORCED = ReplayOrder(replay_id="r", actor="ada", reason="mended", force=True)
FAILURE = Failure(stage=Stage.DECODE, failure_class=FailureClass.POISON, code="C", message="m")
NAMES = st.sampled_from(["__dlq.id", "__dlq.replay.of", "x-original-topic", "a", ""])
HEADERS = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=8)), max_size=8)


def dead_lettered(origin: Origin) -> Origin:
    headers = dead_letter_headers(origin, FAILURE, group="g", now_ms=5)
    return Origin(
        topic=dlq(origin.topic),
        partition=origin.partition,
        offset=1,
        timestamp_ms=5,
        key=origin.key,
        value=origin.value,
        headers=tuple(headers),
    )


def an_origin(headers: list[tuple[str, bytes | None]]) -> Origin:
    return Origin(
        topic=TOPICS.task_created,
        partition=1,
        offset=17,
        timestamp_ms=1_000,
        key=b"\xff",
        value=None,
        headers=tuple(headers),
    )


@given(headers=HEADERS)
def test_original_headers_are_read_back_whatever_they_are_named(
    headers: list[tuple[str, bytes | None]],
) -> None:
    letter = read_dead_letter(dead_lettered(an_origin(headers)), TOPICS)

    assert list(letter.headers) == headers
    assert (letter.topic, letter.partition, letter.offset) == (TOPICS.task_created, 1, 17)


@given(headers=HEADERS)
def test_a_replayed_record_that_fails_again_carries_its_count_and_its_original_headers(
    headers: list[tuple[str, bytes | None]],
) -> None:
    mark = ReplayMark(count=2, of="first", replay_id="r", by="ada", at_ms=7)
    letter = read_dead_letter(dead_lettered(an_origin(replay_headers(headers, mark))), TOPICS)

    assert (letter.replays, letter.replay_of) == (2, "first")
    assert list(letter.headers) == headers


@given(headers=HEADERS, value=st.none() | st.binary(max_size=30))
def test_any_record_of_a_dead_letter_topic_can_be_read(
    headers: list[tuple[str, bytes | None]], value: bytes | None
) -> None:
    record = Origin(
        topic=dlq(TOPICS.step_results),
        partition=0,
        offset=0,
        timestamp_ms=0,
        key=None,
        value=value,
        headers=tuple(headers),
    )

    assert read_dead_letter(record, TOPICS).topic == TOPICS.step_results


def test_the_last_action_counts_and_replays_are_never_forgotten() -> None:
    ledger = Ledger()
    for offset, (kind, count) in enumerate(
        [
            (DeadLetterActionKind.REPLAY_INTENDED, 2),
            (DeadLetterActionKind.REPLAYED, 2),
            (DeadLetterActionKind.RESOLVED, 0),
        ]
    ):
        ledger.add(offset, an_action(kind, count=count))
    state = ledger.state_of("letter-1")

    assert (state.status, state.replays, state.intended) == (LetterStatus.RESOLVED, 2, None)


def test_an_intent_without_an_outcome_is_a_doubt() -> None:
    ledger = Ledger()
    ledger.add(0, an_action(DeadLetterActionKind.REPLAY_INTENDED, count=1))
    state = ledger.state_of("letter-1")

    assert state.intended is not None
    assert (state.intended.topic, state.intended.partition, state.intended.offset) == ("t", 2, 9)


def a_step_letter(run: int, letter_id: str) -> object:
    command = StepCommand(
        command_id=CommandId(f"task_1/{run}/retrieve/1"),
        task_id=TaskId("task_1"),
        tenant_id="acme",
        run=run,
        step=StepName("retrieve"),
        deadline_at=NOW,
        dispatched_at=NOW,
    )
    return a_letter(
        id=letter_id,
        topic="orchestrator.steps.retrieve.normal.v1",
        stage="execute",
        step="retrieve",
        run=run,
        value=encode(command),
    )


def test_a_step_that_fails_again_in_the_next_run_has_the_count_of_its_replay() -> None:
    ledger = Ledger()
    ledger.add(0, an_action(DeadLetterActionKind.REPLAYED, "first", count=3))
    letters = [a_step_letter(1, "first"), a_step_letter(2, "second")]
    all_letters = KnownLetters(letters, ledger)  # type: ignore[arg-type]

    [second] = all_letters.find("second")
    assert (second.state.replays, second.status) == (3, LetterStatus.PARKED)


def test_the_letter_of_a_step_is_replayed_as_a_retry_of_its_task() -> None:
    [known] = KnownLetters([a_step_letter(4, "x")], Ledger()).ordered()  # type: ignore[list-item]
    verdict = plan(known, ORDER, TOPICS, NOW)

    assert isinstance(verdict, Send)
    command = decode(verdict.value, TaskCommand)
    assert (verdict.topic, verdict.key) == (TOPICS.task_commands, b"task_1")
    assert (command.kind, command.run, command.from_step) == (CommandKind.RETRY, 4, "retrieve")
    assert header_text(verdict.headers, "__dlq.replay.of") == "x"


def test_the_letter_of_an_event_is_never_sent_into_the_log() -> None:
    event = TaskEvent(event_id="e", task_id=TaskId("task_1"), tenant_id="acme", occurred_at=NOW)
    known = a_case(topic=TOPICS.task_events, value=encode(event))

    assert plan(known, ORDER, TOPICS, NOW) == WriteRows(TaskId("task_1"), 1)
    undecodable = a_case(topic=TOPICS.task_events, value=b"?")
    assert plan(undecodable, ORDER, TOPICS, NOW) == Skip("no_event")


@pytest.mark.parametrize(
    ("status", "replays", "verdict"),
    [
        (LetterStatus.OPEN, 3, Park()),
        (LetterStatus.PARKED, 3, Skip("parked")),
        (LetterStatus.REPLAYING, 1, Skip("replaying")),
        (LetterStatus.RESOLVED, 1, Skip("resolved")),
        (LetterStatus.DISCARDED, 0, Skip("discarded")),
    ],
)
def test_only_open_letters_are_replayed_unless_forced(
    status: LetterStatus, replays: int, verdict: object
) -> None:
    known = a_case(status, replays, topic=TOPICS.task_created)

    assert plan(known, ORDER, TOPICS, NOW) == verdict
    assert isinstance(plan(known, FORCED, TOPICS, NOW), Send)


def test_an_edited_record_is_sent_with_its_new_value_under_its_task_s_id() -> None:
    task = TaskCreated(task_id=TaskId("task_2"), tenant_id="acme", created_at=NOW)
    ledger = Ledger()
    value = base64.b64encode(encode(task)).decode()
    ledger.add(0, an_action(DeadLetterActionKind.EDITED, value_base64=value))
    [known] = KnownLetters([a_letter(topic=TOPICS.task_created)], ledger).ordered()
    verdict = plan(known, ORDER, TOPICS, NOW)

    assert isinstance(verdict, Send)
    assert (verdict.key, verdict.value) == (b"task_2", encode(task))


def test_an_edit_reaches_into_json_documents_and_keeps_the_rest() -> None:
    task = TaskCreated(
        task_id=TaskId("1"), tenant_id="acme", input=Json('{"query":"a","k":1}'), created_at=NOW
    )
    fields = fields_of(a_letter(), encode(task), TaskCreated)
    changed = with_changes(fields, ["input.query=why?", "priority=7", "type=rag"])
    after = decode(as_value(changed, TaskCreated), TaskCreated)

    assert (after.priority, after.type) == (7, "rag")
    assert after.input == '{"query":"why?","k":1}'


def test_an_undecodable_value_is_edited_from_what_is_known_of_its_letter() -> None:
    fields = fields_of(a_letter(tenant_id="acme"), b"?", TaskCreated)
    after = decode(as_value(with_changes(fields, ["type=rag"]), TaskCreated), TaskCreated)

    assert (after.task_id, after.tenant_id, after.created_at) == ("task_1", "acme", 1_000)


@pytest.mark.parametrize("change", ["priority=many", "colour=blue", "priority", "type.x=1"])
def test_an_edit_that_fits_no_schema_is_refused(change: str) -> None:
    fields = fields_of(a_letter(), b"?", TaskCreated)

    with pytest.raises(EditRefusedError):
        as_value(with_changes(fields, ["type=rag", change]), TaskCreated)


@pytest.mark.parametrize(
    ("chosen", "matches"),
    [
        (LetterFilter(), True),
        (LetterFilter(code=("X", "TASK_TYPE_UNKNOWN"), tenant=("acme",)), True),
        (LetterFilter(code=("TASK_TYPE_UNKNOWN",), tenant=("other",)), False),
        (LetterFilter(ids=("letter-",)), True),
        (LetterFilter(since_ms=2_000, until_ms=2_001), True),
        (LetterFilter(until_ms=2_000), False),
        (LetterFilter(status=("open",)), True),
    ],
)
def test_a_letter_matches_when_every_field_that_is_given_does(
    chosen: LetterFilter, matches: bool
) -> None:
    assert chosen.matches(a_case()) is matches


def test_letters_of_nobody_match_a_tenant_only_where_that_is_asked_for() -> None:
    nobodys, others = a_case(tenant_id=None), a_case(tenant_id="other")
    acme, operator = (LetterFilter(tenant=("acme",), ownerless=flag) for flag in (False, True))

    assert [acme.matches(known) for known in (a_case(), nobodys, others)] == [True, False, False]
    assert [operator.matches(known) for known in (a_case(), nobodys, others)] == [True, True, False]
    assert acme.as_json() == '{"tenant":["acme"]}'


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
def test_a_whole_value_that_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(EditRefusedError):
        an_object(text)


def test_a_change_that_is_nested_too_deep_is_refused() -> None:
    with pytest.raises(EditRefusedError, match="too deep"):
        with_changes({"input": "{}"}, ["input." + "a." * 5_000 + "b=1"])


def test_a_histogram_says_what_broke_how_often_and_since_when() -> None:
    known_letters = [a_case(code="A", dead_lettered_at=at) for at in (5, 3)] + [a_case(code="B")]
    bars = histogram(known_letters, "code")

    assert [(bar.value, bar.count) for bar in bars] == [("A", 2), ("B", 1)]
    assert (bars[0].first_at, bars[0].last_at) == (3, 5)


def test_a_letter_without_its_whole_record_is_not_replayed_also_by_force() -> None:
    known = a_case(topic=TOPICS.task_created, whole=False)

    assert plan(known, ORDER, TOPICS, NOW) == Skip("not_whole")
    assert plan(known, FORCED, TOPICS, NOW) == Skip("not_whole")


def test_a_letter_of_a_batch_that_was_never_taken_apart_says_where_its_records_begin() -> None:
    fault = FetchFault(first_offset=10, code="BATCH_CORRUPT", message="m", batch=b"raw")
    letter = read_dead_letter(dead_lettered(replace(an_origin([]), fault=fault)), TOPICS)

    assert (letter.offset, letter.whole) == (17, False)
    assert dict(letter.headers) == {}
