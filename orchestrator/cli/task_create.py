"""``orchestrator task create``."""

import os
import time
import uuid
from datetime import datetime
from typing import Annotated

import typer

from orchestrator.cli import arguments
from orchestrator.cli.errors import AnswerError
from orchestrator.cli.output import Output, OutputOption, print_json, print_line
from orchestrator.cli.running import kafka_settings, run
from orchestrator.cli.task_door import Sent, open_door
from orchestrator.cli.task_view import event_line
from orchestrator.layout import rules_of
from orchestrator.pipelines import installed_pipelines
from orchestrator.settings import Settings
from schemas.records import Json, Millis, TaskCreated, TaskEvent, TaskId, TaskStatus
from schemas.uuid7 import new_task_id
from tasks.admission import admit
from tasks.identity import task_id_for

STILL_RUNNING = 3
"""Exit status: the record is written, what becomes of it is not known yet."""


def create(
    type_: Annotated[str, typer.Option("--type", help="The pipeline, e.g. rag.")],
    input_: Annotated[
        str, typer.Option("--input", help="A JSON object, @file, or - for standard input.")
    ],
    tenant: Annotated[str, typer.Option(help="Whose task it is.")] = "default",
    id_: Annotated[
        str | None, typer.Option("--id", help="The task's id; a new UUIDv7 without it.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="An idempotency key: the same key names the same task.")
    ] = None,
    priority: Annotated[str, typer.Option(help="0 to 10, or low, normal, high.")] = "normal",
    conversation: Annotated[str | None, typer.Option(help="The conversation's id.")] = None,
    user: Annotated[str | None, typer.Option(help="The user's id.")] = None,
    metadata: Annotated[str, typer.Option(help="A JSON object, @file, or -.")] = "{}",
    hold: Annotated[bool, typer.Option("--hold", help="Wait for `task execute`.")] = False,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds that the task has from now on.")
    ] = None,
    deadline: Annotated[
        datetime | None, typer.Option(parser=arguments.time, help="When it must have ended.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the task's end.")] = False,
    wait_s: Annotated[float, typer.Option(min=0.1, max=86_400, help="How long.")] = 300.0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Publish a task, and print its id.

    It is judged as its owner will judge it, before it is published: what is refused is not
    sent. `-o json` prints {"id", "partition", "offset"}, and with --wait "end": the last event
    as in `task watch`, or null.

    Exit status: 0 published (with --wait: completed), 1 refused (with --wait: failed or
    cancelled), 2 an argument is wrong, 3 not ended within --wait-s; the task goes on.
    """
    settings = kafka_settings()
    now = Millis(time.time_ns() // 1_000_000)
    wish = TaskCreated(
        task_id=_id(id_, tenant, key, now),
        tenant_id=tenant,
        type=type_,
        input=arguments.document(input_),
        priority=arguments.priority(priority),
        conversation_id=conversation,
        user_id=user,
        metadata=arguments.document(metadata),
        hold=hold,
        timeout_ms=None if timeout is None else _milliseconds(timeout),
        deadline_at=None if deadline is None else arguments.millis(deadline),
        idempotency_key=key,
        created_at=now,
    )
    admit(wish, rules=rules_of(settings, installed_pipelines(settings.pipelines)), now=now)
    sent, end = run(_create(settings, wish, wait_s if wait else None))
    _show(wish, sent, end, wait=wait, output=output)
    if wait:
        _exit(wish, end, wait_s)


async def _create(
    settings: Settings, wish: TaskCreated, wait_s: float | None
) -> tuple[Sent, TaskEvent | None]:
    async with open_door(settings) as door:
        sent = await door.create(wish)
        return sent, None if wait_s is None else await door.end(sent, wish, wait_s=wait_s)


def _id(given: str | None, tenant: str, key: str | None, now: Millis) -> TaskId:
    if given is not None:
        return TaskId(given)
    if key is None:
        return new_task_id(now, os.urandom(10))
    try:
        return task_id_for(tenant, key)
    except UnicodeEncodeError:
        # The door will say what is wrong with the key; any id will do for that.
        return TaskId(f"task_{uuid.uuid4()}")


def _milliseconds(seconds: float) -> int:
    """Whole milliseconds; the door says which are too few or too many."""
    if not abs(seconds) < 1e12:
        raise typer.BadParameter(f"{seconds} s is no timeout")
    return int(seconds * 1000)


def _show(
    wish: TaskCreated, sent: Sent, end: TaskEvent | None, *, wait: bool, output: Output
) -> None:
    if output is Output.JSON:
        position = {"id": wish.task_id, "partition": sent.partition, "offset": sent.offset}
        print_json(position | ({"end": end and event_line(end)} if wait else {}))
        return
    print_line(wish.task_id)
    if end is not None and end.output is not None:
        print_line(Json(end.output))


def _exit(wish: TaskCreated, end: TaskEvent | None, wait_s: float) -> None:
    if end is None:
        typer.echo(
            f"{wish.task_id} has not ended within {wait_s:g} s and goes on; "
            f"look with `orchestrator task get {wish.task_id}`",
            err=True,
        )
        raise typer.Exit(STILL_RUNNING)
    if end.status is not TaskStatus.COMPLETED:
        code = end.error.code if end.error else "INTERNAL"
        message = end.error.message if end.error else f"the task is {end.status}"
        raise AnswerError(code, message or f"the task is {end.status}")
