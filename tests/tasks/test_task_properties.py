"""Whatever arrives, in whatever order and however often: a task keeps its promises.

Random lives are decided and applied as an owner would. Inputs come late, twice, at the same
offset and at new ones; clocks jump back.
"""

from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.codec import decode, encode
from schemas.records import (
    CommandKind,
    Error,
    ErrorCategory,
    Millis,
    ResultKind,
    StepResult,
    SubStep,
    TaskCommand,
    TaskCreated,
    TaskEvent,
    Usage,
)
from tasks.apply import apply
from tasks.decide import Accepted, Decision, Ignored, Rejected, decide
from tasks.effects import DeadLetterStep, Effect, SendStep, due_command, effects
from tasks.inputs import Cause, Commanded, Created, DeadlineDue, Input, Reported
from tasks.task import Task
from tests.tasks.builders import (
    BAD_INPUT,
    COMMANDS,
    CREATED,
    DOCUMENTS,
    RESULTS,
    RULES,
    TASK,
    UNAVAILABLE,
    Life,
    a_command,
    a_completed_life,
    a_failed_life,
    a_life,
    a_result,
    a_task_created,
)

TERMINAL = ("completed", "failed", "cancelled")
MANY = settings(max_examples=120, derandomize=True, deadline=None)


@dataclass
class History(Life):
    """A life that remembers its inputs, its states, and every attempt it ever waited for."""

    def __post_init__(self) -> None:
        self.inputs: list[Input] = []
        self.states: list[Task | None] = [None]
        self.attempts: dict[str, Any] = {}

    def take(self, given: Input) -> Decision:
        self.inputs.append(given)
        decision = super().take(given)
        if isinstance(decision, Accepted):
            self.states.append(self.state)
        if self.state is not None and self.state.outstanding is not None:
            self.attempts[self.state.outstanding.command_id] = self.state.outstanding
        return decision

    def act(self, action: tuple[Any, ...]) -> None:
        match action:
            case ("create", hold, priority):
                self.create(a_task_created(hold=hold, priority=priority))
            case ("command", kind, priority, run, from_step):
                self.command(a_command(kind, priority=priority, run=run, from_step=from_step))
            case ("report", which, kind, output, error) if self.attempts:
                attempt = list(self.attempts.values())[-1 - which % len(self.attempts)]
                usage = Usage(cost_micros=1, input_tokens=2)
                self.report(a_result(attempt, kind, output=output, error=error, usage=usage))
            case ("deadline",):
                self.take(DeadlineDue(TASK))
            case ("again", which) if self.inputs:
                self.take(self.inputs[which % len(self.inputs)])
            case ("elsewhere", which) if self.inputs:
                self.take(at_a_new_offset(self, self.inputs[which % len(self.inputs)]))
            case ("wait", duration_ms):
                self.pass_ms(duration_ms)


def at_a_new_offset(life: Life, given: Input) -> Input:
    match given:
        case Created(record=record):
            return Created(life.cause(CREATED), record)
        case Commanded(record=record):
            return Commanded(life.cause(COMMANDS), record)
        case Reported(record=record):
            return Reported(life.cause(RESULTS), record)
    return given


def reports() -> list[tuple[Any, ...]]:
    """Most are about the awaited attempt (0, the last one), or lives would seldom get far."""
    outputs = [DOCUMENTS, DOCUMENTS, DOCUMENTS, "{}", "NaN", None]
    errors = [UNAVAILABLE, UNAVAILABLE, UNAVAILABLE, BAD_INPUT, None]
    return [
        *[("report", which, ResultKind.SUCCEEDED, o, None) for which in (0, 0, 1) for o in outputs],
        *[("report", which, ResultKind.FAILED, None, e) for which in (0, 1) for e in errors],
        *[("report", which, ResultKind.STARTED, None, None) for which in (0, 0, 0, 0, 1, 2)],
        *[("report", which, ResultKind.CANCELLED, None, None) for which in (0, 1)],
    ]


def commands() -> list[tuple[Any, ...]]:
    return [
        *[("command", CommandKind.SET_PRIORITY, p, None, None) for p in (None, 0, 5, 9, 11)],
        *[("command", CommandKind.RETRY, None, run, None) for run in (None, None, 1, 2)],
        *[("command", CommandKind.RETRY, None, None, s) for s in ("retrieve", "generate", "no")],
        *[("command", CommandKind.EXECUTE, None, None, None)] * 3,
        ("command", CommandKind.CANCEL, None, None, None),
        ("command", CommandKind.UNKNOWN, None, None, None),
    ]


# One draw an action, from a table: generating lives should not cost more than living them.
ACTIONS = st.sampled_from(
    [
        *reports(),
        *commands(),
        *[("again", which) for which in range(12)],
        *[("elsewhere", which) for which in range(12)],
        *[("wait", duration_ms) for duration_ms in (1, 500, 700, -300, 400_000)],
        ("deadline",),
        ("create", False, 5),
    ]
)


@st.composite
def histories(draw: st.DrawFn) -> History:
    history = History()
    for action in draw(st.lists(ACTIONS, max_size=3)):  # what comes before its task
        history.act(action)
    history.act(("create", draw(st.booleans()), draw(st.integers(0, 10))))
    for action in draw(st.lists(ACTIONS, min_size=10, max_size=30)):
        history.act(action)
    return history


@given(history=histories())
@MANY
def test_the_sequence_has_no_gap_and_time_runs_forward(history: History) -> None:
    events = history.events

    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert len({event.event_id for event in events}) == len(events)
    times = [event.occurred_at for event in events]
    assert times == sorted(times)


@given(history=histories())
@MANY
def test_a_run_ends_at_most_once_and_only_a_retry_follows_its_end(history: History) -> None:
    for before, event, after in zip(
        history.states, history.events, history.states[1:], strict=False
    ):
        assert after is not None
        assert (event.kind in TERMINAL) == (str(event.kind) == str(after.status))
        if before is not None and before.status.terminal:
            assert event.kind in ("command_refused", "retried")
        if before is not None and before.status.terminal and event.kind == "command_refused":
            expected = replace(before, sequence=after.sequence, decided=after.decided)
            assert after == expected
    ends = [event.run for event in history.events if event.kind in TERMINAL]
    assert len(ends) == len(set(ends))


@given(history=histories())
@MANY
def test_a_fold_of_the_log_gives_the_state(history: History) -> None:
    state: Task | None = None
    for event in history.events:
        state = apply(state, decode(encode(event), TaskEvent))

    assert state == history.state


@given(history=histories())
@MANY
def test_every_decided_input_decides_to_nothing_when_it_comes_again(history: History) -> None:
    causes = {(e.cause_topic, e.cause_offset) for e in history.events if e.cause_offset >= 0}
    for given_again in history.inputs:
        if isinstance(given_again, DeadlineDue):
            continue
        if (given_again.cause.topic, given_again.cause.offset) in causes:
            decision = decide(history.state, given_again, now=history.now, jitter=0.1, rules=RULES)
            assert decision == Ignored("duplicate")


@given(history=histories())
@MANY
def test_effects_that_are_made_again_are_the_same(history: History) -> None:
    state: Task | None = None
    for event, made in zip(history.events, history.effects, strict=True):
        stored = decode(encode(event), TaskEvent)
        after = apply(state, stored)
        again = effects(state, stored, after, RULES.pipelines)
        assert again == made
        state = after


@given(history=histories())
@MANY
def test_one_command_id_has_one_content(history: History) -> None:
    commands: dict[str, bytes] = {}
    for effect in all_effects(history):
        if isinstance(effect, SendStep | DeadLetterStep):
            content = encode(effect.command)
            assert commands.setdefault(effect.command.command_id, content) == content


@given(history=histories())
@MANY
def test_a_task_waits_for_one_attempt_unless_it_is_held_or_has_ended(history: History) -> None:
    for state in history.states[1:]:
        assert state is not None
        idle = state.phase == "held" or state.status.terminal
        assert (state.outstanding is None) == idle
        if state.outstanding is not None:
            scheduled = state.phase == "retry_scheduled"
            assert (state.outstanding.due_at is not None) == scheduled
            assert state.outstanding.attempt <= 4


@given(history=histories())
@MANY
def test_usage_counts_every_applied_result_once(history: History) -> None:
    applied = [e for e in history.events if e.step is not None and e.step.usage is not None]
    ended = [e for e in applied if e.kind != "started"]

    assert history.state is None or history.state.usage.cost_micros == len(ended)


def test_the_random_lives_reach_every_kind_of_event() -> None:
    kinds: set[str] = set()

    @given(history=histories())
    @MANY
    def collect(history: History) -> None:
        kinds.update(event.kind for event in history.events)

    collect()

    assert kinds == {
        "created",
        "execute_requested",
        "command_refused",
        "started",
        "step_succeeded",
        "step_retry_scheduled",
        "priority_changed",
        "completed",
        "failed",
        "cancelled",
        "retried",
    }


def all_effects(history: History) -> list[Effect]:
    """Also those of timers: the command of every scheduled retry."""
    found = [effect for made in history.effects for effect in made]
    waiting = [state for state in history.states if state is not None and state.outstanding]
    return found + [due_command(state, RULES.pipelines) for state in waiting]


TEXT = st.text(max_size=20) | st.sampled_from(["task_1", "acme", "rag", "\0", "x" * 300])
JSON = (
    st.sampled_from(
        [
            "",
            "{}",
            "[]",
            "null",
            "NaN",
            "1e999",
            '"\\u0000"',
            '"\\ud800"',
            '{"query":"why?"}',
            '{"query":"why?","top_k":null}',
            '{"documents":[]}',
            '{"a":1,"a":2}',
            "[" * 5000,
            "9" * 5000,
            '{"documents":"' + "\\" * 2 * 100_000 + '"}',
        ]
    )
    | TEXT
)
INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 1, 2**63 - 1, -(2**63)])


def any_of(record: type[Any], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Records as the decoder may give them: every string, every 32 or 64 bits."""
    return st.builds(record, **fields)


ERRORS = any_of(
    Error,
    code=TEXT,
    message=TEXT,
    category=st.sampled_from(ErrorCategory),
    retriable=st.booleans(),
    service=st.none() | TEXT,
)
USAGES = any_of(
    Usage,
    model=st.none() | TEXT,
    input_tokens=INT64,
    output_tokens=INT64,
    cost_micros=INT64,
    estimated=st.booleans(),
)
SUBSTEPS = any_of(
    SubStep,
    name=TEXT,
    status=TEXT,
    input=JSON,
    output=JSON,
    error=st.none() | ERRORS,
    started_at=INT64,
    completed_at=st.none() | INT64,
    usage=st.none() | USAGES,
)
ANY_CREATED = any_of(
    TaskCreated,
    task_id=TEXT,
    tenant_id=TEXT,
    type=st.just("rag") | TEXT,
    input=JSON,
    priority=st.integers(0, 10) | INT32,
    conversation_id=st.none() | TEXT,
    user_id=st.none() | TEXT,
    metadata=st.just("{}") | JSON,
    hold=st.booleans(),
    timeout_ms=st.none() | INT64,
    deadline_at=st.none() | INT64,
    idempotency_key=st.none() | TEXT,
    pipeline_version=st.none() | INT32,
    created_at=INT64,
)
ANY_COMMAND = any_of(
    TaskCommand,
    command_id=TEXT,
    task_id=TEXT,
    tenant_id=st.just("acme") | TEXT,
    kind=st.sampled_from(CommandKind),
    priority=st.none() | INT32,
    from_step=st.none() | TEXT,
    run=st.none() | INT32,
    reason=st.none() | TEXT,
    actor=TEXT,
    issued_at=INT64,
)
ANY_RESULT = any_of(
    StepResult,
    command_id=st.sampled_from(["task_1/1/retrieve/1", "task_1/1/generate/1", "x"]),
    task_id=TEXT,
    tenant_id=TEXT,
    run=INT32,
    step=TEXT,
    attempt=INT32,
    kind=st.sampled_from(ResultKind),
    output=st.none() | JSON,
    error=st.none() | ERRORS,
    usage=st.none() | USAGES,
    substeps=st.lists(SUBSTEPS, max_size=2),
    retry_after_ms=st.none() | INT64,
    command_topic=TEXT,
    command_partition=INT32,
    command_offset=INT64,
    worker=TEXT,
    started_at=INT64,
    completed_at=st.none() | INT64,
)


def a_second_step_life() -> Life:
    life = a_life()
    life.succeeded(DOCUMENTS)
    return life


STATES = [
    None,
    a_life().state,
    a_life(a_task_created(hold=True)).state,
    a_second_step_life().state,
    a_completed_life().state,
    a_failed_life().state,
]


def what_comes_of(state: Task | None, given_input: Input, jitter: float) -> None:
    decision = decide(state, given_input, now=Millis(1), jitter=jitter, rules=RULES)
    if isinstance(decision, Rejected):
        assert decision.code.isupper()
        encode_text(decision.message)
    if isinstance(decision, Accepted):
        event = decision.event
        assert "\0" not in repr(event)
        assert decode(encode(event), TaskEvent) == event
        after = apply(state, event)
        for effect in effects(state, event, after, RULES.pipelines):
            if isinstance(effect, SendStep | DeadLetterStep):
                encode(effect.command)


def encode_text(text: str) -> None:
    assert "\0" not in text
    text.encode()


@given(record=ANY_CREATED, jitter=st.floats(0, 1))
@MANY
def test_no_created_record_makes_the_rules_raise(record: TaskCreated, jitter: float) -> None:
    what_comes_of(None, Created(Cause(CREATED, 0, 9), decoded(record)), jitter)


@given(record=ANY_COMMAND, state=st.sampled_from(STATES), jitter=st.floats(0, 1))
@MANY
def test_no_command_makes_the_rules_raise(
    record: TaskCommand, state: Task | None, jitter: float
) -> None:
    what_comes_of(state, Commanded(Cause(COMMANDS, 0, 9), decoded(record)), jitter)


@given(record=ANY_RESULT, state=st.sampled_from(STATES), jitter=st.floats(0, 1))
@MANY
def test_no_result_makes_the_rules_raise(
    record: StepResult, state: Task | None, jitter: float
) -> None:
    what_comes_of(state, Reported(Cause(RESULTS, 0, 9), decoded(record)), jitter)


def decoded(record: Any) -> Any:
    """The record as it comes off the wire."""
    return decode(encode(record), type(record))
