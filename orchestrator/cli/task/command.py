"""``orchestrator task execute|cancel|retry|set-priority``: commands, and their answers."""

from typing import Annotated

import typer

from orchestrator.cli import arguments
from orchestrator.cli.errors import AnswerError
from orchestrator.cli.options import ReasonOption
from orchestrator.cli.output import Output, OutputOption, print_json, print_line, print_note
from orchestrator.cli.running import run
from orchestrator.cli.task.create import STILL_RUNNING
from orchestrator.cli.task.ports import (
    CommandRequest,
    DirectOption,
    PublishedCommand,
    ServerOption,
    Tasks,
    View,
)
from orchestrator.cli.task.way import way
from schemas.records import CommandKind, EventKind, TaskId

ALREADY = "TASK_ALREADY_CANCELLED"
"""A refusal that is reported as success: the task is already cancelled."""

IdArgument = Annotated[
    str, typer.Argument(metavar="ID", parser=arguments.task_id, help="The task's id.")
]
TenantOption = Annotated[
    str | None, typer.Option(help="With --direct: the task's tenant; by default it is looked up.")
]
DirectActorOption = Annotated[
    str | None,
    typer.Option(
        "--actor",
        parser=arguments.words,
        metavar="NAME",
        help="With --direct: who does it, for the record; by default cli:USER.",
    ),
]
WaitOption = Annotated[
    float,
    typer.Option("--wait-s", min=0.1, max=3600, help="Seconds to wait for the answer at most."),
]


def execute(
    id_: IdArgument,
    reason: ReasonOption = "",
    wait_s: WaitOption = 10.0,
    tenant: TenantOption = None,
    actor: DirectActorOption = None,
    server: ServerOption = None,
    direct: DirectOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Queue a task that was created with --hold.

    Exit status: 0 done, 1 refused (TASK_NOT_PENDING), 2 an argument is wrong, 3 no answer yet.
    """
    request = CommandRequest(
        kind=CommandKind.EXECUTE,
        task_id=TaskId(id_),
        tenant=tenant,
        actor=actor,
        reason=reason or None,
    )
    _carry_out(way(server, direct, _of_direct(tenant, actor)), request, wait_s, output)


def cancel(
    id_: IdArgument,
    reason: ReasonOption = "",
    wait_s: WaitOption = 10.0,
    tenant: TenantOption = None,
    actor: DirectActorOption = None,
    server: ServerOption = None,
    direct: DirectOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Cancel a task that has not ended. Cancelling a cancelled task is a success.

    Exit status: 0 cancelled, 1 refused (TASK_NOT_CANCELLABLE), 2 an argument is wrong, 3 no
    answer yet.
    """
    request = CommandRequest(
        kind=CommandKind.CANCEL,
        task_id=TaskId(id_),
        tenant=tenant,
        actor=actor,
        reason=reason or None,
    )
    _carry_out(way(server, direct, _of_direct(tenant, actor)), request, wait_s, output)


def retry(
    id_: IdArgument,
    from_step: Annotated[
        str | None,
        typer.Option(
            parser=arguments.words,
            help="Go back to this step, whose output is dropped; by default the first one without.",
        ),
    ] = None,
    run_: Annotated[
        int | None,
        typer.Option(
            "--run",
            min=1,
            max=2**31 - 1,
            help="Only if this is the task's last run; by default any.",
        ),
    ] = None,
    reason: ReasonOption = "",
    wait_s: WaitOption = 10.0,
    tenant: TenantOption = None,
    actor: DirectActorOption = None,
    server: ServerOption = None,
    direct: DirectOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Begin a new run of a task that failed or was cancelled, with a fresh deadline.

    The task goes on from the first step without a result. With --run the command counts only if
    that run is the last one; otherwise nothing happens, and no answer comes (status 3).

    Exit status: 0 a new run began, 1 refused (TASK_NOT_RETRIABLE, STEP_UNKNOWN), 2 an argument
    is wrong, 3 no answer.
    """
    request = CommandRequest(
        kind=CommandKind.RETRY,
        task_id=TaskId(id_),
        tenant=tenant,
        actor=actor,
        reason=reason or None,
        from_step=from_step,
        run=run_,
    )
    _carry_out(way(server, direct, _of_direct(tenant, actor)), request, wait_s, output)


def set_priority(
    id_: IdArgument,
    priority: Annotated[str, typer.Argument(help="0 to 10, or low (0), normal (5), high (10).")],
    reason: ReasonOption = "",
    wait_s: WaitOption = 10.0,
    tenant: TenantOption = None,
    actor: DirectActorOption = None,
    server: ServerOption = None,
    direct: DirectOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Change the priority of a task that has not ended; a waiting step moves to its new lane.

    Exit status: 0 changed, 1 refused (TASK_ALREADY_ENDED), 2 an argument is wrong, 3 no answer
    yet.
    """
    request = CommandRequest(
        kind=CommandKind.SET_PRIORITY,
        task_id=TaskId(id_),
        tenant=tenant,
        actor=actor,
        reason=reason or None,
        priority=arguments.priority(priority),
    )
    _carry_out(way(server, direct, _of_direct(tenant, actor)), request, wait_s, output)


def _of_direct(tenant: str | None, actor: str | None) -> dict[str, object]:
    return {"--tenant": tenant, "--actor": actor}


def _carry_out(tasks: Tasks, request: CommandRequest, wait_s: float, output: Output) -> None:
    """Send the command, print its answer, and exit with its status."""
    published = run(tasks.command(request, wait_s=wait_s))
    answer = published.answer
    if output is Output.JSON:
        print_json(_document(request, published))
    if answer is None:
        print_note(
            f"no answer within {wait_s:g} s: the command is in "
            f"{published.topic}[{published.partition}] at {published.offset} and will be decided; "
            f"look with `orchestrator task get {request.task_id}`"
        )
        raise typer.Exit(STILL_RUNNING)
    refused = answer["kind"] == EventKind.COMMAND_REFUSED
    if refused and answer["reason"] != ALREADY:
        message = f"{request.task_id} is {answer['status']} ({answer['phase']})"
        raise AnswerError(answer["reason"] or "INTERNAL", message)
    if output is not Output.JSON:
        print_line(
            f"{request.task_id}  is cancelled already"
            if refused
            else f"{request.task_id}  {answer['kind']}: {answer['status']} ({answer['phase']}), "
            f"priority {answer['priority']}, run {answer['run']}"
        )


def _document(request: CommandRequest, published: PublishedCommand) -> View:
    return {
        "command_id": published.command_id,
        "task_id": request.task_id,
        "kind": request.kind.value,
        "partition": published.partition,
        "offset": published.offset,
        "answer": published.answer,
    }
