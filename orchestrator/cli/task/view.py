"""The document of ``task get`` with ``--direct``, made from the service's own history."""

from collections.abc import Sequence

from orchestrator.api.grpc.history import history_message
from orchestrator.api.grpc.messages import event_message, task_message
from orchestrator.api.replica.live_task import folded
from orchestrator.api.tasks.history import (
    TaskHistory,
    history_of_log,
    history_of_wish,
)
from orchestrator.api.tasks.views.event import event_view
from orchestrator.cli.task.message import line_of, view_of
from orchestrator.cli.task.ports import View
from schemas.records import TaskCreated, TaskEvent
from streams.history.task_log import Seen


def view_of_log(life: Sequence[Seen]) -> View:
    """The view from the events of a life; its first event carries the whole task."""
    events = [seen.event for seen in life]
    return view_of_history(history_of_log(folded(None, events), events))


def view_of_wish(wish: TaskCreated) -> View:
    """The view from a record that its task's owner has not decided yet."""
    return view_of_history(history_of_wish(wish))


def event_line(event: TaskEvent) -> View:
    """An event as ``task watch`` and the timeline show it."""
    return line_of(event_message(event_view(event)))


def view_of_history(history: TaskHistory) -> View:
    """The view from a history of any source."""
    return view_of(task_message(history.task), history_message(history))
