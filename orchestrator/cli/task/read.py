"""``orchestrator task get|list|watch``."""

from contextlib import aclosing
from enum import StrEnum
from typing import Annotated

import typer

from orchestrator.cli import arguments
from orchestrator.cli.options import SinceOption, UntilOption
from orchestrator.cli.output import Output, OutputOption, print_json, print_note
from orchestrator.cli.running import run
from orchestrator.cli.task.command import IdArgument
from orchestrator.cli.task.ports import DirectOption, PageQuery, ServerOption, Tasks
from orchestrator.cli.task.show import (
    listed_view,
    show_event,
    show_explanation,
    show_list,
    show_task,
)
from orchestrator.cli.task.way import way
from schemas.records import TaskId
from sinks.reads.paging import NewestCursor, QueueCursor, TaskFilter

TimeoutOption = Annotated[
    float,
    typer.Option(
        "--timeout-s", min=0.1, max=3600, help="Seconds to wait for what is known at most."
    ),
]


class StatusChoice(StrEnum):
    """The statuses by which tasks can be listed."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ListOrder(StrEnum):
    """The orders in which tasks can be listed."""

    NEWEST = "newest"
    QUEUE = "queue"


def get(
    id_: IdArgument,
    timeout_s: TimeoutOption = 60.0,
    server: ServerOption = None,
    direct: DirectOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a task: its state, attempts, usage, error and timeline.

    The service shows its memory of the log, or what Postgres has if the task is no longer in
    memory. A task that still waits in task-created is shown too (phase accepted). With --direct
    the command reads the log first: from the time in the id (UUIDv7) on, or from the creation time
    that Postgres knows, or from the beginning, which can take a while.

    `-o json` prints one object: id, type, tenant_id, status, phase, priority, run, sequence,
    conversation_id, user_id, idempotency_key, pipeline, pipeline_version, created_at,
    updated_at, started_at, completed_at, deadline_at, duration_ms, input, output, metadata,
    error (code, message, category, retriable, service, step, attempt), usage (model,
    input_tokens, output_tokens, cost_micros, estimated), attempts (run, step, attempt, status,
    service, lane, worker, command_id, times, duration_ms, input, output, substeps, error,
    usage), timeline (as `task watch` prints it) and source (log, postgres or task-created). Names
    stay; new ones may come.

    Exit status: 0 shown, 1 unknown (TASK_UNKNOWN) or not readable, 2 an argument is wrong.
    """
    view = run(way(server, direct).view(TaskId(id_), timeout_s=timeout_s))
    if output is Output.JSON:
        print_json(view)
    else:
        show_task(view, output)


def explain(
    id_: IdArgument,
    timeout_s: TimeoutOption = 60.0,
    server: ServerOption = None,
    direct: DirectOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say why a task is where it is: for what it waits, since when, and who should move it.

    The reasons: ENDED, HELD, RETRY_WAITING, NO_WORKER, FLOOD_GUARD, BREAKER_OPEN, RETRY_BUDGET,
    THROTTLED, LANE_BEHIND, CALL_RUNNING, NO_ROUTER, ROUTER_BEHIND, and UNKNOWN while Kafka does
    not answer. Remarks: DEADLINE_NEAR, DEADLINE_PASSED, NO_ROUTER, SINK_BEHIND, NO_SINK.
    `docs/runbook.md` says what to do for each.

    `-o json` prints one object: task_id, status, phase, reason, text, since, due_at, mover, step,
    attempt, service, lane, worker, records_before, members, remarks (code, text).

    Exit status: 0 explained, 1 unknown (TASK_UNKNOWN) or not readable, 2 an argument is wrong.
    """
    view = run(way(server, direct).explain(TaskId(id_), timeout_s=timeout_s))
    if output is Output.JSON:
        print_json(view)
    else:
        show_explanation(view, output)


def watch(
    id_: IdArgument,
    after: Annotated[int, typer.Option(min=0, help="Only events after this sequence number.")] = 0,
    timeout_s: TimeoutOption = 60.0,
    server: ServerOption = None,
    direct: DirectOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print what happens to a task as it happens, and end when it ended.

    `-o json` prints one object a line: sequence, at, kind, status, phase, run, priority, step,
    attempt, error, actor, reason. --timeout-s bounds the reading of what happened before, and
    how long the service may be away.

    Exit status: 0 the task ended (however), 1 not known, 2 an argument is wrong, 130 Ctrl-C.
    """
    run(_watch(way(server, direct), TaskId(id_), after, timeout_s, output))


def list_(
    status: Annotated[StatusChoice | None, typer.Option(help="Only tasks of this status.")] = None,
    type_: Annotated[str | None, typer.Option("--type", help="Only tasks of this type.")] = None,
    conversation: Annotated[
        str | None, typer.Option(help="Only tasks of this conversation, by its id.")
    ] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    order: Annotated[
        ListOrder,
        typer.Option(
            help="newest lists the newest first, queue the pending ones as they will be served."
        ),
    ] = ListOrder.NEWEST,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Tasks on a page at most.")] = 50,
    after: Annotated[
        str | None,
        typer.Option(
            metavar="CURSOR", help="The cursor of the last task seen; by default the first page."
        ),
    ] = None,
    tenant: Annotated[
        str | None,
        typer.Option(help="With --direct: only tasks of this tenant; by default of all."),
    ] = None,
    server: ServerOption = None,
    direct: DirectOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """List tasks from Postgres, a page at a time.

    The order `queue` lists pending tasks: the highest priority first, then the oldest.
    `-o json` prints one object a line: id, type, status, phase, priority, tenant_id,
    conversation_id, user_id, created_at, updated_at, started_at, completed_at, duration_ms,
    run, error_code, input_tokens, output_tokens, cost_micros and cursor, which is what --after
    takes for the next page, with the same filters.

    Exit status: 0 listed, 1 Postgres or the cursor is the fault, 2 an argument is wrong.
    """
    if order is ListOrder.QUEUE and (conversation or status not in (None, StatusChoice.PENDING)):
        raise typer.BadParameter("--order queue lists pending tasks, by type, tenant and time")
    which = TaskFilter(
        status=status.value if status else None,
        type=_checked(type_),
        tenant_id=_checked(tenant),
        conversation_id=_checked(conversation),
        since=since,
        until=until,
    )
    queue = order is ListOrder.QUEUE
    tasks = way(server, direct, {"--tenant": tenant})
    query = PageQuery(which=which, queue=queue, limit=limit, after=_cursor(queue, after))
    page = run(tasks.page(query))
    asked = tasks.asked_tenant(tenant)
    if not page and asked is not None:
        print_note(f"no task of {asked} was found; --direct --tenant NAME shows another tenant's")
    cursor = QueueCursor.of if queue else NewestCursor.of
    if output is Output.JSON:
        for task in page:
            print_json(listed_view(task) | {"cursor": str(cursor(task))})
        return
    show_list(page, output)
    if len(page) == limit:
        print_note(f"more: --after {cursor(page[-1])}")


def _checked(text: str | None) -> str | None:
    return None if text is None else arguments.words(text)


def _cursor(queue: bool, text: str | None) -> NewestCursor | QueueCursor | None:
    if text is None:
        return None
    return QueueCursor.parse(text) if queue else NewestCursor.parse(text)


async def _watch(
    tasks: Tasks, task_id: TaskId, after: int, timeout_s: float, output: Output
) -> None:
    async with aclosing(tasks.watch(task_id, after=after, timeout_s=timeout_s)) as lines:
        async for line in lines:
            print_json(line) if output is Output.JSON else show_event(line)
