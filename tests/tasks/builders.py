"""What the tests of the rules are made of: records, inputs, and a task that lives."""

from dataclasses import dataclass, field

from schemas.limits import Limits
from schemas.records import (
    CommandId,
    CommandKind,
    Error,
    ErrorCategory,
    Json,
    Millis,
    ResultKind,
    StepName,
    StepResult,
    TaskCommand,
    TaskCreated,
    TaskEvent,
    TaskId,
    Usage,
)
from tasks.apply import apply
from tasks.decide import Accepted, Decision, Rules, decide
from tasks.effects import Effect, effects
from tasks.inputs import Cause, Commanded, Created, DeadlineDue, Input, Reported
from tasks.pipeline_file import load_pipelines
from tasks.task import Outstanding, Task

TASK = TaskId("task_1")
TENANT = "acme"
START = Millis(1_700_000_000_000)
CREATED = "orchestrator.task-created.v1"
COMMANDS = "orchestrator.task-commands.v1"
RESULTS = "orchestrator.step-results.v1"
RULES = Rules(pipelines=load_pipelines(), limits=Limits())

UNAVAILABLE = Error(code="UNAVAILABLE", category=ErrorCategory.DOWNSTREAM, retriable=True)
BAD_INPUT = Error(code="BAD_INPUT", category=ErrorCategory.USER)
DOCUMENTS = Json('{"documents":[{"id":"a"}]}')
ANSWER = Json('{"answer":"yes"}')


def a_task_created(
    *,
    task_id: str = TASK,
    tenant_id: str = TENANT,
    kind: str = "rag",
    given: str = '{"query":"why?"}',
    metadata: str = "{}",
    priority: int = 5,
    hold: bool = False,
    timeout_ms: int | None = None,
    deadline_at: int | None = None,
    conversation_id: str | None = None,
    user_id: str | None = None,
    idempotency_key: str | None = None,
    pipeline_version: int | None = None,
) -> TaskCreated:
    return TaskCreated(
        task_id=TaskId(task_id),
        tenant_id=tenant_id,
        type=kind,
        input=Json(given),
        metadata=Json(metadata),
        priority=priority,
        hold=hold,
        timeout_ms=timeout_ms,
        deadline_at=None if deadline_at is None else Millis(deadline_at),
        conversation_id=conversation_id,
        user_id=user_id,
        idempotency_key=idempotency_key,
        pipeline_version=pipeline_version,
        created_at=START,
    )


def a_command(
    kind: CommandKind,
    *,
    priority: int | None = None,
    run: int | None = None,
    from_step: str | None = None,
    tenant_id: str = TENANT,
    actor: str = "ada",
    reason: str | None = None,
) -> TaskCommand:
    return TaskCommand(
        command_id="c",
        task_id=TASK,
        tenant_id=tenant_id,
        kind=kind,
        priority=priority,
        run=run,
        from_step=from_step,
        actor=actor,
        reason=reason,
        issued_at=START,
    )


def a_result(
    outstanding: Outstanding,
    kind: ResultKind,
    *,
    output: str | None = None,
    error: Error | None = None,
    usage: Usage | None = None,
    retry_after_ms: int | None = None,
) -> StepResult:
    return StepResult(
        command_id=CommandId(outstanding.command_id),
        task_id=TASK,
        tenant_id=TENANT,
        step=StepName(outstanding.step),
        attempt=outstanding.attempt,
        kind=kind,
        output=None if output is None else Json(output),
        error=error,
        usage=usage,
        retry_after_ms=retry_after_ms,
        command_topic=f"orchestrator.steps.{outstanding.step}.normal.v1",
        command_partition=3,
        command_offset=17,
        worker="worker-1",
        started_at=outstanding.dispatched_at,
        completed_at=None,
    )


@dataclass
class Life:
    """A task that lives through inputs, with everything that came of them.

    Each input gets the next offset of its topic; an accepted event is applied at once.
    """

    rules: Rules = RULES
    now: Millis = START
    jitter: float = 0.5
    state: Task | None = None
    events: list[TaskEvent] = field(default_factory=list)
    effects: list[list[Effect]] = field(default_factory=list)
    offsets: dict[str, int] = field(default_factory=dict)

    @property
    def task(self) -> Task:
        assert self.state is not None
        return self.state

    @property
    def waiting(self) -> Outstanding:
        assert self.task.outstanding is not None
        return self.task.outstanding

    def take(self, given: Input) -> Decision:
        decision = decide(self.state, given, now=self.now, jitter=self.jitter, rules=self.rules)
        if isinstance(decision, Accepted):
            after = apply(self.state, decision.event)
            self.effects.append(effects(self.state, decision.event, after, self.rules.pipelines))
            self.events.append(decision.event)
            self.state = after
        return decision

    def cause(self, topic: str) -> Cause:
        self.offsets[topic] = self.offsets.get(topic, -1) + 1
        return Cause(topic, 3, self.offsets[topic])

    def create(self, record: TaskCreated | None = None) -> Decision:
        return self.take(Created(self.cause(CREATED), record or a_task_created()))

    def command(self, record: TaskCommand) -> Decision:
        return self.take(Commanded(self.cause(COMMANDS), record))

    def report(self, record: StepResult) -> Decision:
        return self.take(Reported(self.cause(RESULTS), record))

    def started(self) -> Decision:
        return self.report(a_result(self.waiting, ResultKind.STARTED))

    def succeeded(self, output: str = DOCUMENTS, usage: Usage | None = None) -> Decision:
        result = a_result(self.waiting, ResultKind.SUCCEEDED, output=output, usage=usage)
        return self.report(result)

    def failed(self, error: Error = UNAVAILABLE, retry_after_ms: int | None = None) -> Decision:
        result = a_result(
            self.waiting, ResultKind.FAILED, error=error, retry_after_ms=retry_after_ms
        )
        return self.report(result)

    def deadline(self) -> Decision:
        return self.take(DeadlineDue(TASK))

    def pass_ms(self, duration_ms: int) -> None:
        self.now = Millis(self.now + duration_ms)


def a_life(record: TaskCreated | None = None, *, rules: Rules = RULES) -> Life:
    """A task that was just created."""
    life = Life(rules=rules)
    assert isinstance(life.create(record), Accepted)
    return life


def a_completed_life() -> Life:
    life = a_life()
    life.succeeded(DOCUMENTS)
    life.succeeded(ANSWER)
    return life


def a_failed_life() -> Life:
    """Its first step succeeded, its second one failed for good."""
    life = a_life()
    life.succeeded(DOCUMENTS)
    life.failed(BAD_INPUT)
    return life


def the_event(decision: Decision) -> TaskEvent:
    assert isinstance(decision, Accepted), decision
    return decision.event
