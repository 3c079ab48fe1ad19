"""``orchestrator task``: create tasks, look at them, and give orders about them.

All of it by the service (``task_served.py``), or with ``--direct`` by Kafka, its log and Postgres
(``task_direct.py``): ``task_way.py`` is what both ways promise.
"""

import typer

from orchestrator.cli import task_create, task_order, task_read

app = typer.Typer(help="Tasks: create, look, order.", no_args_is_help=True)
app.command("create")(task_create.create)
app.command("get")(task_read.get)
app.command("list")(task_read.list_)
app.command("execute")(task_order.execute)
app.command("cancel")(task_order.cancel)
app.command("retry")(task_order.retry)
app.command("set-priority")(task_order.set_priority)
app.command("watch")(task_read.watch)
