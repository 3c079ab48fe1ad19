"""``orchestrator dev``: the whole system in the foreground, with a demonstration."""

import asyncio
import json
import logging
import os
import signal
import sys
import time
from typing import Annotated

import typer
from rich.console import Console

from orchestrator.local.dev.demonstration import Demonstration
from orchestrator.local.dev.server_keeper import kept_running
from orchestrator.local.dev.system import DEV_DEFAULTS, System, open_system
from orchestrator.local.embedded.servers import open_servers
from orchestrator.observability import LogSettings, set_up_logs
from orchestrator.schema_ids import use_schema_ids
from orchestrator.settings import Settings, load_settings

_DEMONSTRATION_S = 120.0


def dev(
    once: Annotated[
        bool,
        typer.Option(
            "--once", help="Stop after the demonstration; exit 1 if it did not go as it should."
        ),
    ] = False,
) -> None:
    """Start Kafka, Postgres and every role, run demonstration tasks, stay up until Ctrl-C.

    ORCH_KAFKA_BOOTSTRAP and ORCH_POSTGRES_DSN name servers of your own; otherwise real ones
    are started here. Their data is kept in .orchestrator/.
    """
    settings = load_settings(os.environ, DEV_DEFAULTS)
    set_up_logs(LogSettings(level="warning", format="console"), role="dev")
    # It warns of every partition that is new, and tries again by itself.
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    raise typer.Exit(asyncio.run(_until_stopped(settings, once)))


async def _until_stopped(settings: Settings, once: bool) -> int:
    """Run until done or until the first SIGINT or SIGTERM; then everything is stopped."""
    running = asyncio.ensure_future(_run(settings, once))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, running.cancel)
    try:
        return await running
    except asyncio.CancelledError:
        Console().print("stopped; the data is kept")
        return 0


async def _run(settings: Settings, once: bool) -> int:
    console, started = Console(), time.monotonic()
    await use_schema_ids(settings)
    data_dir = settings.embedded.data_dir.absolute()
    console.print("starting Kafka and Postgres …")
    async with open_servers(
        settings.embedded,
        kafka_bootstrap=settings.kafka.bootstrap or None,
        postgres_dsn=settings.postgres.dsn or None,
    ) as servers:
        found = {
            "ORCH_KAFKA_BOOTSTRAP": servers.kafka_bootstrap,
            "ORCH_POSTGRES_DSN": servers.postgres_dsn,
        }
        settings = load_settings({**os.environ, **found}, DEV_DEFAULTS)
        console.print(f"servers answer after {time.monotonic() - started:.1f} s")
        async with (
            kept_running(servers) as failed,
            open_system(settings, environment={}, logs=data_dir / "logs") as system,
        ):
            shown = await Demonstration(settings, console).run(timeout_s=_DEMONSTRATION_S)
            console.print(f"demonstration over after {time.monotonic() - started:.1f} s")
            if not shown:
                console.print(f"[red]it did not go as it should[/red]; see {data_dir / 'logs'}")
            if once:
                return 0 if shown else 1
            _invite(console, system)
            await failed  # never, unless a server cannot be started again
    return 0


def _invite(console: Console, system: System) -> None:
    """Say where things are, and what to try."""
    settings, program = system.settings, sys.argv[0]
    bootstrap = f"ORCH_KAFKA_BOOTSTRAP={settings.kafka.bootstrap}"
    console.print(f"Kafka     {settings.kafka.bootstrap}", highlight=False)
    console.print(f"Postgres  {settings.postgres.dsn}", highlight=False)
    console.print(f"gRPC      {system.grpc_address}", highlight=False)
    console.print(f"HTTP      http://{system.http_address}", highlight=False)
    console.print("Try, in another terminal:", highlight=False)
    for command in (
        f"{bootstrap} {sys.executable} examples/publish_task.py 'What is a lane?'",
        f"{bootstrap} {program} tail task-events --from-start",
        f"{bootstrap} {program} tail dlq.task-created --from-start --until-end",
        *_calls(system),
    ):
        console.print(f"  {command}", highlight=False, soft_wrap=True)
    console.print("Ctrl-C stops everything; the data is kept.", highlight=False)


def _calls(system: System) -> tuple[str, ...]:
    """Calls of the service: by command, over HTTP, over gRPC, and create and watch."""
    question = json.dumps({"query": "What is a lane?"})
    body = json.dumps({"type": "rag", "input": json.loads(question)})
    message = json.dumps({"type": "rag", "input": question})
    post = f"http://{system.http_address}/api/v1/tasks:execute -H 'Content-Type: application/json'"
    return (
        f"{sys.argv[0]} task create --type rag --input '{question}' --wait "
        f"--server {system.grpc_address}",
        f"curl -sS {post} -d '{body}'",
        f"grpcurl -plaintext -d '{message}' {system.grpc_address} "
        "orchestrator.v1.Orchestrator/CreateAndExecuteTask",
        f"curl -sSN {post} -H 'Accept: text/event-stream' -d '{body}'",
    )
