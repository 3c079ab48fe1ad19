"""``orchestrator task execute|cancel|retry|set-priority``: orders, and their answers."""

import time
import uuid
from typing import Annotated, Any

import typer

from orchestrator.cli import arguments
from orchestrator.cli.output import Output, OutputOption, print_json, print_line
from orchestrator.cli.running import kafka_settings, run
from orchestrator.cli.task_create import STILL_RUNNING
from orchestrator.cli.task_door import Sent, open_door, refusal
from orchestrator.cli.task_find import open_finder
from orchestrator.cli.task_view import event_line
from orchestrator.settings import Settings
from schemas.records import CommandKind, EventKind, Millis, TaskCommand, TaskEvent, TaskId

ALREADY = "TASK_ALREADY_CANCELLED"
"""The refusal that is none to who asked: the task is as wanted."""

IdArgument = Annotated[
    str, typer.Argument(metavar="ID", parser=arguments.task_id, help="The task's id.")
]
TenantOption = Annotated[
    str | None, typer.Option(help="The task's tenant; looked up where it is not given.")
]
ActorOption = Annotated[
    str | None, typer.Option(parser=arguments.words, help="Who orders; cli:USER without it.")
]
ReasonOption = Annotated[str | None, typer.Option(parser=arguments.words, help="Why, for the log.")]
WaitOption = Annotated[
    float, typer.Option("--wait-s", min=0.1, max=3600, help="Seconds to wait for the answer.")
]
READ_S = 60.0
"""Bound of looking a task up before an order."""


def execute(
    id_: IdArgument,
    tenant: TenantOption = None,
    actor: ActorOption = None,
    reason: ReasonOption = None,
    wait_s: WaitOption = 10.0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Queue a task that was created with --hold.

    Exit status: 0 done, 1 refused (TASK_NOT_PENDING), 2 an argument is wrong, 3 no answer yet.
    """
    _order(CommandKind.EXECUTE, id_, tenant, actor, reason, wait_s, output)


def cancel(
    id_: IdArgument,
    tenant: TenantOption = None,
    actor: ActorOption = None,
    reason: ReasonOption = None,
    wait_s: WaitOption = 10.0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Cancel a task that has not ended. To cancel a cancelled one again is a success.

    Exit status: 0 cancelled, 1 refused (TASK_NOT_CANCELLABLE), 2 an argument is wrong, 3 no
    answer yet.
    """
    _order(CommandKind.CANCEL, id_, tenant, actor, reason, wait_s, output)


def retry(
    id_: IdArgument,
    from_step: Annotated[
        str | None,
        typer.Option(parser=arguments.words, help="Go back to this step; its output is dropped."),
    ] = None,
    run_: Annotated[
        int | None,
        typer.Option("--run", min=1, max=2**31 - 1, help="Only if this run is the last one."),
    ] = None,
    tenant: TenantOption = None,
    actor: ActorOption = None,
    reason: ReasonOption = None,
    wait_s: WaitOption = 10.0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Begin a new run of a task that failed or was cancelled, with a fresh deadline.

    It goes on from the first step without a result. With --run the order means that run: when
    the task is in another one by then, nothing happens and nothing answers (status 3).

    Exit status: 0 a new run began, 1 refused (TASK_NOT_RETRIABLE, STEP_UNKNOWN), 2 an argument
    is wrong, 3 no answer.
    """
    details = {"from_step": from_step, "run": run_}
    _order(CommandKind.RETRY, id_, tenant, actor, reason, wait_s, output, **details)


def set_priority(
    id_: IdArgument,
    priority: Annotated[str, typer.Argument(help="0 to 10, or low, normal, high.")],
    tenant: TenantOption = None,
    actor: ActorOption = None,
    reason: ReasonOption = None,
    wait_s: WaitOption = 10.0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Change the priority of a task that has not ended; a waiting step moves to its new lane.

    Exit status: 0 changed, 1 refused (TASK_ALREADY_ENDED), 2 an argument is wrong, 3 no answer
    yet.
    """
    details = {"priority": arguments.priority(priority)}
    _order(CommandKind.SET_PRIORITY, id_, tenant, actor, reason, wait_s, output, **details)


def _order(
    kind: CommandKind,
    id_: str,
    tenant: str | None,
    actor: str | None,
    reason: str | None,
    wait_s: float,
    output: Output,
    **details: Any,
) -> None:
    settings = kafka_settings()
    order = TaskCommand(
        command_id=str(uuid.uuid4()),
        task_id=TaskId(id_),
        tenant_id=tenant or run(_tenant(settings, TaskId(id_))),
        kind=kind,
        reason=reason,
        actor=actor or arguments.default_actor(),
        issued_at=Millis(time.time_ns() // 1_000_000),
        **details,
    )
    sent, answer = run(_send(settings, order, wait_s))
    _show(order, sent, answer, wait_s, output)


async def _tenant(settings: Settings, task_id: TaskId) -> str:
    async with open_finder(settings, timeout_s=READ_S) as finder:
        return await finder.tenant(task_id)


async def _send(
    settings: Settings, order: TaskCommand, wait_s: float
) -> tuple[Sent, TaskEvent | None]:
    async with open_door(settings) as door:
        sent = await door.order(order)
        return sent, await door.answer(sent, order, wait_s=wait_s)


def _show(
    order: TaskCommand, sent: Sent, answer: TaskEvent | None, wait_s: float, output: Output
) -> None:
    """Print the answer, and end as it says."""
    if output is Output.JSON:
        print_json(
            {
                "command_id": order.command_id,
                "task_id": order.task_id,
                "kind": order.kind.value,
                "partition": sent.partition,
                "offset": sent.offset,
                "answer": answer and event_line(answer),
            }
        )
    if answer is None:
        typer.echo(
            f"no answer within {wait_s:g} s: the command is in {sent.topic}[{sent.partition}] at "
            f"{sent.offset} and will be decided; look with "
            f"`orchestrator task get {order.task_id}`",
            err=True,
        )
        raise typer.Exit(STILL_RUNNING)
    if answer.kind is EventKind.COMMAND_REFUSED and answer.reason != ALREADY:
        raise refusal(answer)
    if output is Output.TABLE:
        print_line(
            f"{answer.task_id}  {answer.kind}: {answer.status} ({answer.phase}), "
            f"priority {answer.priority}, run {answer.run}"
            if answer.kind is not EventKind.COMMAND_REFUSED
            else f"{answer.task_id}  is cancelled already"
        )
