"""The command line. Errors of ours are one line with a stable code, and exit status 1."""

import os
import sys

import typer

from orchestrator.cli import (
    dev,
    dlq,
    keys,
    migrate,
    pipelines,
    serve,
    sink,
    tail,
    task,
    topics,
    usage,
    worker,
)
from schemas.errors import OrchestratorError

app = typer.Typer(
    name="orchestrator",
    help="Runs AI tasks through their pipelines, on Kafka. Settings are ORCH_* variables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command(name="dev")(dev.dev)
app.command(name="serve")(serve.serve)
app.command(name="worker")(worker.worker)
app.command(name="demo-services", hidden=True)(worker.demo_services)
app.command(name="tail")(tail.tail)
app.command(name="usage")(usage.usage)
app.add_typer(task.app, name="task")
app.add_typer(topics.app, name="topics")
app.add_typer(pipelines.app, name="pipelines")
app.add_typer(migrate.app, name="migrate")
app.add_typer(sink.app, name="sink")
app.add_typer(keys.app, name="keys")
app.add_typer(dlq.app, name="dlq")


def run() -> None:
    """Run the command of ``sys.argv``."""
    try:
        app()
    except OrchestratorError as error:
        print(f"error {error.code}: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        # The reader of our output (head, grep -q) has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
