"""``orchestrator task create``."""

import sys
from datetime import datetime
from typing import Annotated

import typer

from orchestrator.cli import arguments
from orchestrator.cli.errors import AnswerError
from orchestrator.cli.output import Output, OutputOption, print_json, print_line, print_note
from orchestrator.cli.running import run
from orchestrator.cli.task.ports import CreatedTask, DirectOption, End, ServerOption, TaskRequest
from orchestrator.cli.task.way import way
from schemas.printable import printable
from schemas.records import TaskId, TaskStatus

STILL_RUNNING = 3
"""Exit status: the record is written, its result is not known yet."""


def create(
    type_: Annotated[str, typer.Option("--type", help="The pipeline, such as rag.")],
    input_: Annotated[
        str, typer.Option("--input", help="A JSON object, @file, or - for standard input.")
    ],
    key: Annotated[
        str | None, typer.Option(help="An idempotency key: the same key names the same task.")
    ] = None,
    priority: Annotated[
        str, typer.Option(help="0 to 10, or low (0), normal (5), high (10).")
    ] = "normal",
    conversation: Annotated[
        str | None, typer.Option(help="The id of the conversation that the task belongs to.")
    ] = None,
    user: Annotated[
        str | None, typer.Option(help="The id of the user whom the task is for.")
    ] = None,
    metadata: Annotated[
        str,
        typer.Option(
            help="A JSON object, @file, or - for standard input; it is kept with the task."
        ),
    ] = "{}",
    hold: Annotated[
        bool, typer.Option("--hold", help="Let the task wait until `task execute`.")
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            help="Seconds that the task has from now on; by default its pipeline decides."
        ),
    ] = None,
    deadline: Annotated[
        datetime | None,
        typer.Option(
            parser=arguments.deadline,
            metavar="TIME",
            help="When it must have ended: 30m or 2h from now, a day, or a time in RFC 3339.",
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the task's end.")] = False,
    stream: Annotated[
        bool,
        typer.Option("--stream", help="As --wait, and print the answer as it is written."),
    ] = False,
    wait_s: Annotated[
        float, typer.Option(min=0.1, max=86_400, help="Seconds that --wait waits at most.")
    ] = 300.0,
    tenant: Annotated[
        str | None, typer.Option(help="With --direct: whose task it is; `default` without it.")
    ] = None,
    id_: Annotated[
        str | None,
        typer.Option("--id", help="With --direct: the task's id; a new UUIDv7 without it."),
    ] = None,
    server: ServerOption = None,
    direct: DirectOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Create a task, and print its id.

    The service checks the task; with --direct this command checks it as the task's owner will. A
    task that is refused is not published.

    `-o json` prints {"id", "partition", "offset"}, and with --wait "end": the last event as in
    `task watch`, or null. The position is null if --key names a task that exists already.

    Exit status: 0 created (with --wait: completed), 1 refused (with --wait: failed or
    cancelled), 2 an argument is wrong, 3 not ended within --wait-s; the task goes on.
    """
    if stream and (direct or output is Output.JSON):
        raise typer.BadParameter("--stream goes with neither --direct nor -o json")
    wait = wait or stream
    tasks = way(server, direct, {"--tenant": tenant, "--id": id_})
    request = TaskRequest(
        type=type_,
        input=arguments.document(input_),
        priority=arguments.priority(priority),
        conversation_id=conversation,
        user_id=user,
        metadata=arguments.document(metadata),
        hold=hold,
        timeout_ms=None if timeout is None else _milliseconds(timeout),
        deadline_at=deadline,
        key=key,
        tenant=tenant,
        id=id_,
    )
    pieces = _Pieces() if stream else None
    created = run(tasks.create(request, wait_s=wait_s if wait else None, on_piece=pieces))
    if pieces is not None:
        pieces.end()
    _show(created, wait=wait, output=output)
    if wait:
        _exit(created.id, created.end, wait_s)


class _Pieces:
    """Prints the pieces of an answer on standard output, one behind the other."""

    def __init__(self) -> None:
        self._printed = False

    def __call__(self, piece: str) -> None:
        self._printed = True
        # A piece is foreign text: what it holds must not move the cursor of this terminal.
        sys.stdout.write(printable(piece))
        sys.stdout.flush()

    def end(self) -> None:
        """End the line."""
        if self._printed:
            print_line()


def _milliseconds(seconds: float) -> int:
    """Whole milliseconds; admission checks whether they are too few or too many."""
    if not abs(seconds) < 1e12:
        raise typer.BadParameter(f"{seconds} s is not a timeout")
    return int(seconds * 1000)


def _show(created: CreatedTask, *, wait: bool, output: Output) -> None:
    end = created.end
    if output is Output.JSON:
        shown = {"id": created.id, "partition": created.partition, "offset": created.offset}
        print_json(shown | ({"end": end and end.line} if wait else {}))
        return
    print_line(created.id)
    if end is not None and end.output is not None:
        print_line(end.output)


def _exit(task_id: TaskId, end: End | None, wait_s: float) -> None:
    if end is None:
        print_note(
            f"{task_id} has not ended within {wait_s:g} s and goes on; "
            f"look with `orchestrator task get {task_id}`"
        )
        raise typer.Exit(STILL_RUNNING)
    if end.status != TaskStatus.COMPLETED:
        code, message = end.error or ("INTERNAL", "")
        raise AnswerError(code, message or f"the task is {end.status}")
