"""``orchestrator task``: create tasks, show them, and send commands about them.

By default through the service (``served.py``), with ``--direct`` through Kafka, its log and
Postgres (``direct.py``): ``ports.py`` describes what both ways have in common.
"""

import typer

from orchestrator.cli.task import command, create, read

app = typer.Typer(
    help="Create tasks, show them, and give commands about them.", no_args_is_help=True
)
app.command("create")(create.create)
app.command("get")(read.get)
app.command("explain")(read.explain)
app.command("list")(read.list_)
app.command("execute")(command.execute)
app.command("cancel")(command.cancel)
app.command("retry")(command.retry)
app.command("set-priority")(command.set_priority)
app.command("watch")(read.watch)
