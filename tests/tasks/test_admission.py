"""Admission lets in what can be done, and says by a code why it does not."""

from dataclasses import replace

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.errors import InvalidRecordError
from schemas.limits import Limits
from schemas.records import Lane, Millis, TaskCreated, TaskId
from tasks.decide import Accepted, Ignored, Rejected, Rules
from tasks.deciding.admission import admit
from tasks.identity import check_key, check_owner_of_id, task_id_for
from tests.tasks.builders import RULES, START, TASK, Life, a_life, a_task_created, the_event

DAY_MS = 24 * 60 * 60 * 1000


def code_of(record: TaskCreated, rules: Rules = RULES) -> str:
    with pytest.raises(InvalidRecordError) as caught:
        admit(record, rules=rules, now=START)
    return str(caught.value.code)


def test_an_ordinary_task_is_admitted_with_its_pipeline_and_its_deadline() -> None:
    spec = admit(a_task_created(), rules=RULES, now=START).spec

    assert (spec.pipeline, spec.pipeline_version) == ("rag", 1)
    assert (spec.timeout_ms, spec.deadline_at) == (300_000, START + 300_000)
    assert spec.created_at == START


def test_the_first_step_is_dispatched_with_its_defaults_into_its_lane() -> None:
    first = admit(a_task_created(priority=9), rules=RULES, now=START).first

    assert first.command_id == "task_1/1/retrieve/1"
    assert first.input == '{"query":"why?","top_k":20}'
    assert (first.service, first.lane) == ("retrieval-service", Lane.HIGH)


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (a_task_created(task_id=""), "ID_INVALID"),
        (a_task_created(task_id="a b"), "ID_INVALID"),
        (a_task_created(task_id="a\n"), "ID_INVALID"),
        (a_task_created(task_id="x" * 65), "ID_INVALID"),
        (a_task_created(tenant_id=""), "TENANT_MISSING"),
        (a_task_created(tenant_id="a/b"), "ID_INVALID"),
        (a_task_created(tenant_id="a\0"), "TEXT_NOT_STORABLE"),
        (a_task_created(user_id=""), "ID_INVALID"),
        (a_task_created(user_id="a\x1b[31m"), "ID_INVALID"),
        (a_task_created(conversation_id="c" * 65), "ID_INVALID"),
        (a_task_created(conversation_id="c\0"), "TEXT_NOT_STORABLE"),
        (a_task_created(user_id="\ud800"), "TEXT_NOT_STORABLE"),
        (a_task_created(idempotency_key="k\0"), "TEXT_NOT_STORABLE"),
        (a_task_created(idempotency_key="k"), "ID_KEY_MISMATCH"),
        (a_task_created(task_id=task_id_for("acme", "k")), "ID_KEY_MISSING"),
        (
            a_task_created(task_id=task_id_for("acme", "k"), tenant_id="evil", idempotency_key="k"),
            "ID_KEY_MISMATCH",
        ),
        (a_task_created(kind=""), "TASK_TYPE_UNKNOWN"),
        (a_task_created(kind="rag\0"), "TASK_TYPE_UNKNOWN"),
        (a_task_created(pipeline_version=2), "PIPELINE_VERSION_UNKNOWN"),
        (a_task_created(priority=-1), "PRIORITY_OUT_OF_RANGE"),
        (a_task_created(priority=11), "PRIORITY_OUT_OF_RANGE"),
        (a_task_created(timeout_ms=0), "TIMEOUT_OUT_OF_RANGE"),
        (a_task_created(timeout_ms=DAY_MS + 1), "TIMEOUT_OUT_OF_RANGE"),
        (a_task_created(timeout_ms=2**63 - 1), "TIMEOUT_OUT_OF_RANGE"),
        (a_task_created(deadline_at=START + DAY_MS + 1), "TIMEOUT_OUT_OF_RANGE"),
        (a_task_created(deadline_at=-1), "TIMEOUT_OUT_OF_RANGE"),
        (a_task_created(given="[]"), "JSON_INVALID"),
        (a_task_created(given=""), "JSON_INVALID"),
        (a_task_created(given='{"query":"\\u0000"}'), "TEXT_NOT_STORABLE"),
        (a_task_created(given='{"query":NaN}'), "NUMBER_NOT_STORABLE"),
        (a_task_created(given='{"query":' + "[" * 1000), "JSON_TOO_DEEP"),
        (a_task_created(given='{"query":"' + "x" * 256 * 1024 + '"}'), "INPUT_TOO_LARGE"),
        (a_task_created(metadata="null"), "JSON_INVALID"),
        (a_task_created(metadata='{"a":1e999}'), "NUMBER_NOT_STORABLE"),
        (a_task_created(given='{"question":"why?"}'), "INPUT_INCOMPLETE"),
    ],
)
def test_a_record_that_breaks_a_rule_is_refused_by_its_code(record: TaskCreated, code: str) -> None:
    assert code_of(record) == code


def test_a_first_input_that_grows_over_its_limit_is_refused() -> None:
    rules = replace(RULES, limits=Limits(step_input_max_bytes=20))

    assert code_of(a_task_created(), rules) == "INPUT_TOO_LARGE"


def test_the_ids_of_others_follow_the_same_rule_as_ours() -> None:
    record = a_task_created(user_id="zoe.1", conversation_id="team:a-b_c")
    refused = a_task_created(user_id="zoë@example.com")

    assert admit(record, rules=RULES, now=START).spec.user_id == "zoe.1"
    with pytest.raises(InvalidRecordError, match="user_id does not match"):
        admit(refused, rules=RULES, now=START)


def test_the_id_that_belongs_to_an_idempotency_key_is_admitted() -> None:
    key_id = task_id_for("acme", "order 7")
    record = a_task_created(task_id=key_id, idempotency_key="order 7")

    assert admit(record, rules=RULES, now=START).spec.task_id == key_id


@given(st.text(min_size=1, max_size=8), st.text(max_size=20), st.sampled_from(["acme", "evil"]))
def test_an_id_of_the_idempotency_kind_needs_its_key(tenant: str, key: str, sender: str) -> None:
    assume("\0" not in tenant)
    mine = task_id_for(tenant, key)
    check_owner_of_id(mine, tenant, key)
    with pytest.raises(InvalidRecordError, match="belongs to an idempotency key"):
        check_owner_of_id(mine, sender, None)
    if sender != tenant:
        with pytest.raises(InvalidRecordError, match="this key's task_id is"):
            check_owner_of_id(mine, sender, key)


@pytest.mark.parametrize(
    "task_id",
    [
        "task_1",
        "task_018c1f6e-0000-7000-8000-000000000001",
        "task_e3d1a2b4-0c1d-4e2f-8a3b-4c5d6e7f8091",
        "order_ff8e1c5e-ab6b-53f8-abcd-1a65ccfa5a4f",
        "task_FF8E1C5E-AB6B-53F8-ABCD-1A65CCFA5A4F",
    ],
)
def test_an_id_of_another_kind_needs_no_key(task_id: str) -> None:
    check_owner_of_id(TaskId(task_id), "acme", None)


def test_the_id_of_an_idempotency_key_never_changes() -> None:
    assert task_id_for("acme", "order 7") == "task_ff8e1c5e-ab6b-53f8-abcd-1a65ccfa5a4f"


def test_tenants_do_not_share_idempotency_keys() -> None:
    assert task_id_for("acme", "k") != task_id_for("umbrella", "k")


def test_the_earlier_of_timeout_and_deadline_counts() -> None:
    early = a_task_created(timeout_ms=60_000, deadline_at=START + 10_000)
    late = a_task_created(timeout_ms=60_000, deadline_at=START + 90_000)

    assert admit(early, rules=RULES, now=START).spec.deadline_at == START + 10_000
    assert admit(late, rules=RULES, now=START).spec.deadline_at == START + 60_000


def test_a_deadline_alone_is_the_timeout_of_later_runs_too() -> None:
    spec = admit(a_task_created(deadline_at=START + 900_000), rules=RULES, now=START).spec

    assert (spec.timeout_ms, spec.deadline_at) == (900_000, START + 900_000)


def test_a_deadline_in_the_past_is_admitted_and_a_retry_gets_the_default_time() -> None:
    spec = admit(a_task_created(deadline_at=START - 5), rules=RULES, now=START).spec

    assert (spec.timeout_ms, spec.deadline_at) == (300_000, START - 5)


@pytest.mark.parametrize("key", [None, b"", b"task_2", b"task_1\0"])
def test_a_key_that_is_not_the_task_id_is_refused(key: bytes | None) -> None:
    with pytest.raises(InvalidRecordError) as caught:
        check_key(key, TASK)

    assert caught.value.code == "KEY_MISMATCH"


def test_a_key_that_is_the_task_id_passes() -> None:
    check_key(b"task_1", TASK)
    check_key("täsk".encode(), TaskId("täsk"))


def test_a_created_event_carries_the_whole_task() -> None:
    life = Life()

    event = the_event(life.create(a_task_created(priority=1)))

    assert (event.kind, event.sequence, event.run) == ("created", 1, 1)
    assert (event.status, event.phase, event.priority) == ("pending", "queued", 1)
    assert (event.cause_topic, event.cause_partition, event.cause_offset) == (
        "orchestrator.task-created.v1",
        3,
        0,
    )
    assert (event.owner, event.owner_epoch, event.event_id) == ("", 0, "task_1/1")
    assert event.task is not None
    assert event.task.input == '{"query":"why?"}'
    assert [step.lane for step in event.dispatched] == [Lane.LOW]


def test_a_held_task_is_pending_and_dispatches_nothing() -> None:
    life = a_life(a_task_created(hold=True))

    assert (life.task.status, life.task.phase) == ("pending", "held")
    assert life.task.outstanding is None
    assert life.effects == [[]]


def test_a_record_that_admission_refuses_is_rejected() -> None:
    decision = Life().create(a_task_created(kind="dance"))

    assert isinstance(decision, Rejected)
    assert decision.code == "TASK_TYPE_UNKNOWN"
    assert "rag" in decision.message


def test_a_second_record_for_a_known_id_is_a_duplicate_whatever_it_says() -> None:
    life = a_life()

    assert life.create(a_task_created()) == Ignored("duplicate")
    assert life.create(a_task_created(kind="dance")) == Ignored("duplicate")


def test_a_deadline_that_passed_before_creation_fails_the_task() -> None:
    life = Life()
    assert isinstance(life.create(a_task_created(deadline_at=START - 1)), Accepted)

    event = the_event(life.deadline())

    assert event.error is not None
    assert event.error.code == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize("default_timeout_ms", [0, DAY_MS + 1])
def test_rules_with_a_senseless_timeout_stop_the_start(default_timeout_ms: int) -> None:
    with pytest.raises(ValueError, match="default_timeout_ms"):
        replace(RULES, default_timeout_ms=default_timeout_ms)


@given(
    created_at=st.integers(-(2**63), 2**63 - 1), timeout_ms=st.integers(1, 3_600_000) | st.none()
)
def test_the_clock_of_an_upstream_service_moves_no_deadline(
    created_at: int, timeout_ms: int | None
) -> None:
    mine = a_task_created(timeout_ms=timeout_ms)
    theirs = msgspec.structs.replace(mine, created_at=Millis(created_at))

    assert admit(theirs, rules=RULES, now=START) == admit(mine, rules=RULES, now=START)


def test_a_deadline_that_is_given_is_kept_whatever_the_record_says_of_its_making() -> None:
    deadline = Millis(START + 5_000)
    mine = a_task_created(deadline_at=deadline, timeout_ms=60_000)
    for created_at in (0, START - 10**9, START, START + 10**9):
        record = msgspec.structs.replace(mine, created_at=Millis(created_at))

        assert admit(record, rules=RULES, now=START).spec.deadline_at == deadline


def test_a_create_with_the_id_of_another_tenants_task_is_dead_lettered() -> None:
    life = a_life()
    again = life.create(a_task_created())
    foreign = life.create(a_task_created(tenant_id="umbrella"))

    assert again == Ignored("duplicate")
    assert isinstance(foreign, Rejected)
    assert foreign.code == "TENANT_MISMATCH"
    assert "umbrella" not in foreign.message
    assert "acme" not in foreign.message
