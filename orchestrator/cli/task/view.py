"""The document of ``task get`` with ``--direct``, made from the service's own history."""

from orchestrator.api.grpc.history import history_message
from orchestrator.api.grpc.messages import event_message, task_message
from orchestrator.api.tasks.history import TaskHistory
from orchestrator.api.tasks.views.event import event_view
from orchestrator.cli.task.message import line_of, view_of
from orchestrator.cli.task.ports import View
from schemas.records import TaskEvent


def event_line(event: TaskEvent) -> View:
    """An event as ``task watch`` and the timeline show it."""
    return line_of(event_message(event_view(event)))


def view_of_history(history: TaskHistory) -> View:
    """The view from a history of any source."""
    return view_of(task_message(history.task), history_message(history))
