"""A task as ``task get`` shows it with ``--direct``: the service's own history, printed alike."""

from collections.abc import Sequence

from orchestrator.api.grpc.history import history_message
from orchestrator.api.grpc.messages import event_message, task_message
from orchestrator.api.replica.live_task import folded
from orchestrator.api.tasks.history import (
    TaskHistory,
    history_of_log,
    history_of_rows,
    history_of_wish,
)
from orchestrator.api.tasks.views.event import event_view, last_life
from orchestrator.cli.task.message import line_of, view_of
from orchestrator.cli.task.ports import View
from schemas.records import TaskCreated, TaskEvent
from sinks.reads.stored import StoredLog, StoredStep, StoredTask
from streams.history.task_log import Seen


def view_of_log(life: Sequence[Seen]) -> View:
    """The view from the events of a life, the first of which carries the whole task."""
    events = [seen.event for seen in life]
    return _view(history_of_log(folded(None, events), events))


def view_of_rows(task: StoredTask, steps: Sequence[StoredStep], logs: Sequence[StoredLog]) -> View:
    """The view from the sink's rows; ``logs`` may begin with a former life of the id."""
    return _view(history_of_rows(task, steps, last_life(logs)))


def view_of_wish(wish: TaskCreated) -> View:
    """From a record whose task's owner has not decided yet."""
    return _view(history_of_wish(wish))


def event_line(event: TaskEvent) -> View:
    """An event as ``task watch`` and the timeline show it."""
    return line_of(event_message(event_view(event)))


def _view(history: TaskHistory) -> View:
    return view_of(task_message(history.task), history_message(history))
