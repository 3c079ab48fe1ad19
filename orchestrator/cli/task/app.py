"""``orchestrator task``: create tasks, look at them, and give orders about them.

All of it by the service (``served.py``), or with ``--direct`` by Kafka, its log and Postgres
(``direct.py``): ``ports.py`` is what both ways promise.
"""

import typer

from orchestrator.cli.task import create, order, read

app = typer.Typer(
    help="Create tasks, show them, and give commands about them.", no_args_is_help=True
)
app.command("create")(create.create)
app.command("get")(read.get)
app.command("list")(read.list_)
app.command("execute")(order.execute)
app.command("cancel")(order.cancel)
app.command("retry")(order.retry)
app.command("set-priority")(order.set_priority)
app.command("watch")(read.watch)
