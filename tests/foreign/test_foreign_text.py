"""Strangers' text through every command that prints it: safe for a terminal, and still data."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import asyncpg
import grpc
import msgspec
import pytest
import pytest_asyncio
import typer
from aiokafka import AIOKafkaProducer
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from rich.cells import cell_len

from orchestrator.api.grpc.errors import DETAILS, DOMAIN
from orchestrator.cli.app import app
from orchestrator.settings import load_settings
from schemas.codec import encode
from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from schemas.gen.orchestrator.v1 import orchestrator_pb2_grpc as pb_grpc
from schemas.records import (
    DeadLetterAction,
    DeadLetterActionKind,
    EventKind,
    TaskCreated,
    TaskEvent,
)
from schemas.topics import Topics, dlq
from tests.commands import Ended, run_command
from tests.e2e.driving import a_database
from tests.foreign.texts import (
    EVIL,
    LONG,
    Column,
    evil_headers,
    evil_message,
    evil_record,
)

WIDTH = 80
LETTER = "8b7a1c9e-0d4f-5b6a-9c8d-7e6f5a4b3c2d"
TASK = "task_of_a_stranger"
REASONS = [
    *("code", "class", "stage", "group", "message", "exception.class.name"),
    "exception.stacktrace",
]
HEADERS = [
    *(f"__dlq.errors.{name}" for name in REASONS),
    *("__dlq.task.id", "__dlq.tenant", "__dlq.step", "__dlq.service", "__dlq.traceparent"),
    *("__dlq.replay.of", "ce_tenantid", "ce_tasktype"),
]
WHY = ("--execute", "--reason", EVIL, "--actor", EVIL)
ALL = ("--from-start", "--until-end")
DIRECT = ("--direct", "--timeout-s", "20")

PRINTING = [
    "dlq list --all --limit 0",
    "dlq list --ids --all",
    f"dlq show {LETTER}",
    "dlq stats",
    "dlq replay --all",
    f"dlq edit {LETTER} --set type=rag",
    "dlq discard --topic task-created",
    "dlq export FILE",
    "dlq import LETTERS",
    "dlq replay --stop",
    "tail task-created --from-start --until-end",
    "tail task-commands --from-start --until-end",
    "tail task-events --from-start --until-end --raw",
    "tail step-results --from-start --until-end",
    "tail dlq.task-created --from-start --until-end",
    f"task get {TASK}",
    f"task explain {TASK}",
    f"task watch {TASK}",
    "task list",
    "task list --order queue",
    f"task cancel {TASK}",
    f"task execute {TASK}",
    f"task retry {TASK}",
    f"task set-priority {TASK} 1",
    "task create --type rag --input {} --wait --wait-s 5",
    f"task get {TASK} --direct --timeout-s 20",
    "task list --direct",
    "task list --direct --order queue",
    "usage --by model",
    "usage --by type --by tenant --by day --by status",
    "topics list",
    "topics acls all --principal NAME",
    "topics apply",
    "pipelines list",
    "pipelines show odd",
    "pipelines validate PIPELINE",
    "pipelines validate BROKEN",
    "keys list --file KEYS",
    "keys revoke NAME --file KEYS",
    "migrate status",
    "migrate up",
    "doctor",
    "status",
    "config check CONFIG",
    "config show",
    "sink verify",
    "sink retention --older-than 400d --dry-run",
]
"""Words in capitals stand for files and names of :class:`System`."""

SILENT = ("dlq replay --stop", "sink retention", "task list --direct --order queue")
"""They may find nothing to print."""

SAYS_NOTHING_FOREIGN = {
    *("dev", "serve", "worker"),  # they log
    *(
        "config schema",
        "dlq reindex",
        "keys new",
        "sink rebuild",
        "topics adopt",
        "topics plan-growth",
    ),
    *("dlq tail", "env"),  # see test_lines.py, as for logs
}
TABLES = (
    *(
        "dlq list --all",
        "dlq stats",
        "dlq replay --all",
        "tail task-created",
        "task get",
        "task list",
    ),
    *("usage --by model", "topics list", "pipelines list", "keys list", "migrate status"),
)
"""They fit a terminal. Others print documents, or sentences, which a terminal wraps."""


in_one_loop = pytest.mark.asyncio(loop_scope="session")
"""The loop of the service that answers."""


@dataclass(frozen=True)
class System:
    """Kafka, Postgres, a service and files, all filled by strangers."""

    variables: dict[str, str]
    words: dict[str, str]
    """What stands for the words in capitals."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def system(
    kafka_bootstrap: str, postgres_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[System]:
    folder = tmp_path_factory.mktemp("foreign")
    files = _files(folder)
    variables = {
        "ORCH_KAFKA_BOOTSTRAP": kafka_bootstrap,
        "ORCH_POSTGRES_DSN": await a_database(postgres_dsn),
        "ORCH_TOPICS_PREFIX": f"foreign-{uuid.uuid4().hex[:8]}.",
        "ORCH_TOPICS_PARTITIONS": "1",
        "ORCH_PIPELINES_DIR": str(folder),
        "COLUMNS": str(WIDTH),
    }
    for command in (("topics", "apply"), ("migrate", "up")):
        ended = await asyncio.to_thread(run_command, command, variables)
        assert ended.status == 0, ended.err
    await _fill_topics(variables)
    created = f"{variables['ORCH_TOPICS_PREFIX']}task-created.v1"
    await _fill_tables(variables["ORCH_POSTGRES_DSN"], created)
    server = grpc.aio.server()
    pb_grpc.add_OrchestratorServicer_to_server(_stranger(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield System({**variables, "ORCH_API_SERVER": f"127.0.0.1:{port}"}, files)
    finally:
        await server.stop(0)


def _files(folder: Path) -> dict[str, str]:
    odd = "".join(c for c in EVIL if c not in "/\n\r")
    pipeline = folder / f"{odd}.yaml"
    pipeline.write_text(
        "pipeline: odd\nversion: 1\nsteps:\n  - name: say\n    service: joker\n    method: Tell\n"
        f"    timeout_s: 1\n    input: {json.dumps({'text': LONG})}\noutput: $.steps.say\n"
    )
    broken = folder / f"{odd}.broken"
    broken.write_text(f"pipeline: {json.dumps(EVIL)}\n")
    line = {"id": "NAME", "tenant": "acme", "scopes": ["read"], "hash": "0" * 64}
    keys = folder / f"{odd}.jsonl"
    keys.write_text(json.dumps(line) + "\n")
    config = folder / f"{odd}.config"
    config.write_text(f"api: {{}}\nserver:\n  key: {json.dumps(odd)}\n".replace("api: {}\n", ""))
    letters = folder / f"{odd}.letters"
    letters.write_text("")
    return {
        "FILE": str(folder / f"{odd}.export"),
        "LETTERS": str(letters),
        "PIPELINE": str(pipeline),
        "BROKEN": str(broken),
        "KEYS": str(keys),
        "CONFIG": str(config),
        "NAME": f"User:{EVIL}",
    }


async def _fill_topics(variables: dict[str, str]) -> None:
    settings = load_settings({n: v for n, v in variables.items() if n.startswith("ORCH_")})
    topics = Topics(settings.topics)
    action = DeadLetterActionKind.REPLAY_STARTED
    async with AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap) as producer:

        async def send(topic: str, value: bytes | None, *headers: tuple[str, bytes]) -> None:
            await producer.send_and_wait(
                topic, value, key=EVIL.encode() + b"\xff", partition=0, headers=list(headers)
            )

        for topic in (topics.task_created, topics.task_commands, topics.step_results):
            record = topics.record_of(topic)
            assert record is not None
            value = encode(evil_record(record))
            await send(topic, value, *evil_headers(["ce_tenantid", "ce_tasktype"]))
            await send(topic, b"\x00\xff\x1b[31m")
            headers = [("__dlq.id", LETTER.encode()), *evil_headers(HEADERS)]
            await send(dlq(topic), value, *(headers if record is TaskCreated else headers[1:]))
            await send(dlq(topic), EVIL.encode() + b"\xff", *evil_headers(["__dlq.id"]))
        for kind in EventKind:
            event = evil_record(TaskEvent, kind=kind, sequence=1)
            await send(topics.task_events, encode(event), *evil_headers(["ce_tenantid"]))
        letters = evil_record(DeadLetterAction, kind=action, replay_id=EVIL)
        await send(topics.dlq_actions, encode(letters))
        item = msgspec.structs.replace(letters.items[0], letter_id=LETTER)
        edit = {"kind": DeadLetterActionKind.DISCARDED, "items": [item]}
        await send(topics.dlq_actions, encode(msgspec.structs.replace(letters, **edit)))


async def _fill_tables(dsn: str, topic: str) -> None:
    """A row in each table that commands show."""
    connection = await asyncpg.connect(dsn)
    try:
        for table in ("tasks", "task_steps", "task_execution_logs", "dead_letters"):
            rows = await connection.fetch(
                "SELECT column_name, data_type, character_maximum_length, is_identity"
                " FROM information_schema.columns WHERE table_schema = 'ai_orchestrator'"
                " AND table_name = $1 AND is_generated = 'NEVER'",
                table,
            )
            columns = [Column(r[0], r[1], r[2]) for r in rows if r[3] == "NO"]
            values = {column.name: column.value() for column in columns}
            if table in ("tasks", "task_steps"):
                values["status"] = "'pending'"
            if table == "dead_letters":
                values |= {"status": "'open'", "id": f"'{LETTER}'", "topic": f"'{topic}'"}
                values["dlq_partition"] = "0"
            await connection.execute(
                f"INSERT INTO ai_orchestrator.{table} ({', '.join(values)})"
                f" VALUES ({', '.join(values.values())})"
            )
    finally:
        await connection.close()


def _stranger() -> pb_grpc.OrchestratorServicer:
    """A service whose every text is a stranger's."""

    def answering(kind: type[Any]) -> staticmethod[Any, Any]:
        async def method(_request: Any, _context: Any) -> Any:
            return evil_message(kind())

        return staticmethod(method)

    async def watched(_request: Any, _context: Any) -> AsyncIterator[Any]:
        answer = pb.WatchTaskResponse()
        evil_message(answer.event)
        yield answer

    async def refused(_request: Any, context: Any) -> Any:
        info = ErrorInfo(reason=EVIL, domain=DOMAIN, metadata={"cause": EVIL})
        status = Status(message=EVIL)
        status.details.add().Pack(info)
        context.set_trailing_metadata(((DETAILS, status.SerializeToString()),))
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, EVIL)

    methods = {
        "GetTask": answering(pb.GetTaskResponse),
        "ExplainTask": answering(pb.ExplainTaskResponse),
        "ListTasks": answering(pb.ListTasksResponse),
        "WatchTask": staticmethod(watched),
        "ExecuteTask": staticmethod(refused),
    }
    for name in ("CreateTask", "CancelTask", "RetryTask", "SetTaskPriority"):
        methods[name] = answering(pb.TaskResponse)
    return cast(
        pb_grpc.OrchestratorServicer,
        type("Stranger", (pb_grpc.OrchestratorServicer,), methods)(),
    )


def check(ended: Ended, *, as_json: bool) -> None:
    """What is printed has no control characters and no line of a stranger, and JSON is JSON."""
    assert "Traceback" not in ended.err
    assert "INTERNAL" not in ended.err
    for text in (ended.out, ended.err):
        assert not {c for c in text if not (c.isprintable() or c in "\n\t")}
        assert "\N{BUG}" not in text
    assert not any(line.startswith("error FORGED") for line in ended.out.splitlines())
    if as_json and ended.out:
        for line in ended.out.splitlines():
            json.loads(line)


def arguments_of(line: str, words: dict[str, str]) -> list[str]:
    return [words.get(word, word) for word in line.split()]


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "list_commands"):
        yield " ".join(path), command
        return
    context = typer.Context(command)
    for name in command.list_commands(context):
        yield from leaves(command.get_command(context, name), (*path, name))


COMMANDS = dict(leaves(typer.main.get_command(app)))


def name_of(line: str) -> str:
    return max((name for name in COMMANDS if f"{line} ".startswith(f"{name} ")), key=len)


def cases() -> Iterator[tuple[str, str]]:
    for line in PRINTING:
        if not any("-o" in p.opts for p in COMMANDS[name_of(line)].params):
            yield line, ""
            continue
        yield line, "table"
        if "--ids" not in line:
            yield line, "json"
        if line.startswith(TABLES):
            yield from ((line, "terminal"), (line, "wide"))


async def printed(
    system: System,
    line: str,
    form: str,
    monkeypatch: pytest.MonkeyPatch,
    without: Collection[str] = (),
) -> Ended:
    """Run a command, and check what it prints."""
    if form == "terminal":
        for module in ("orchestrator.cli.output", "orchestrator.cli.tail.command"):
            monkeypatch.setattr(f"{module}.terminal_width", lambda: WIDTH)
    words = arguments_of(line, system.words)
    options = ["-o", form.replace("terminal", "table")] if form else []
    variables = {n: value for n, value in system.variables.items() if n not in without}
    if line == "config show":
        variables["ORCH_CONFIG"] = system.words["CONFIG"]
    ended = await asyncio.to_thread(run_command, [*words, *options], variables)
    check(ended, as_json=form == "json")
    if form == "terminal":
        assert max((cell_len(text) for text in ended.out.splitlines()), default=0) <= WIDTH
    return ended


def test_every_command_is_here() -> None:
    assert {name_of(line) for line in PRINTING} | SAYS_NOTHING_FOREIGN == set(COMMANDS)


@in_one_loop
@pytest.mark.parametrize(("line", "form"), list(cases()))
async def test_a_command_prints_strangers_text_safely(
    system: System, line: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Letters are read from their topics, which hold more than the index takes.
    from_topics = line.startswith(("dlq", "topics list"))
    without = ["ORCH_POSTGRES_DSN"] if from_topics else []
    ended = await printed(system, line, form, monkeypatch, without)

    assert ended.status in (0, 1), ended.err
    assert ended.out or ended.err or line.startswith(SILENT)


@in_one_loop
@pytest.mark.parametrize("form", ["table", "terminal", "json"])
@pytest.mark.parametrize("line", ["dlq list --all", "dlq stats", f"dlq show {LETTER}"])
async def test_the_index_shows_strangers_text_safely(
    system: System, line: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "show" in line and form == "terminal":
        form = "wide"
    ended = await printed(system, line, form, monkeypatch)

    assert ended.status == 0, ended.err
