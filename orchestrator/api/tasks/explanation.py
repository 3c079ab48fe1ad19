"""Why a task is where it is: for what it waits, since when, and who should move it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from agents.steps.gate.admission import Hold
from agents.steps.gate.note import holds_of
from orchestrator.api.tasks.history import PastAttempt, TaskHistory
from orchestrator.api.tasks.views.view import View
from streams.kafka.group_reading import GroupReading
from tasks.task import Phase

NEAR = timedelta(seconds=60)
"""A deadline that is nearer than this is mentioned."""


class Reason(StrEnum):
    """Why a task does not go on at this moment. Readers must expect new ones."""

    ENDED = "ENDED"
    HELD = "HELD"
    """It waits for an execute command."""
    RETRY_WAITING = "RETRY_WAITING"
    """An attempt failed, and the next one is not due yet."""
    NO_WORKER = "NO_WORKER"
    """Nobody reads the commands of its step."""
    FLOOD_GUARD = "FLOOD_GUARD"
    """A worker has its command, and asks the service by probes only."""
    BREAKER_OPEN = "BREAKER_OPEN"
    """A worker holds commands back because most calls of their service failed."""
    THROTTLED = "THROTTLED"
    """A worker makes fewer calls at once, because the service refused some as too many."""
    RETRY_BUDGET = "RETRY_BUDGET"
    """A worker holds retries back, because too many calls of their service were retries."""
    LANE_BEHIND = "LANE_BEHIND"
    """Its command waits behind others, or is just being taken."""
    CALL_RUNNING = "CALL_RUNNING"
    """A worker calls the service."""
    NO_ROUTER = "NO_ROUTER"
    """Nobody decides about tasks."""
    ROUTER_BEHIND = "ROUTER_BEHIND"
    """A record about it waits to be decided."""
    UNKNOWN = "UNKNOWN"
    """Kafka did not answer, or refuses this account, so it is not known who should move it."""


class Remark(View, frozen=True, kw_only=True):
    """A further fact that matters for a task."""

    code: str
    """``DEADLINE_NEAR``, ``DEADLINE_PASSED``, ``NO_ROUTER``, ``SINK_BEHIND``, ``NO_SINK``."""
    text: str


class ExplanationView(View, frozen=True, kw_only=True):
    """Why a task is where it is."""

    task_id: str
    status: str
    phase: str
    reason: Reason
    text: str
    """One or two sentences for people."""
    mover: str | None = None
    """Who is expected to act: a role of the system, ``caller`` or ``operator``; None: nobody."""
    since: datetime
    due_at: datetime | None = None
    """When it goes on by itself, if that is known."""
    step: str | None = None
    attempt: int | None = None
    service: str | None = None
    lane: str | None = None
    worker: str | None = None
    """The worker that calls the service."""
    records_before: int | None = None
    """Commands that may be before this one in its lane."""
    members: int | None = None
    """Processes of ``mover``, if it is a role."""
    remarks: list[Remark]


@dataclass(frozen=True, slots=True, kw_only=True)
class Readers:
    """The groups that may have to move a task."""

    router: GroupReading
    sink: GroupReading
    step: GroupReading | None = None
    """Of the lane of the last attempt; None: there is no attempt."""


@dataclass(frozen=True, slots=True)
class _Why:
    reason: Reason
    text: str
    mover: str | None
    since: datetime
    due_at: datetime | None = None
    reading: GroupReading | None = None


def explained(history: TaskHistory, readers: Readers | None, *, now: datetime) -> ExplanationView:
    """Explain a task.

    Args:
        history: the task with its attempts.
        readers: the groups; None: Kafka did not answer.
        now: the time of the explanation.
    """
    task, attempt = history.task, last_attempt(history)
    why = _why(history, attempt, readers, now)
    live = attempt if why.reason is not Reason.ENDED else None
    waits = why.reason in (Reason.NO_WORKER, Reason.LANE_BEHIND, *_HELD)
    return ExplanationView(
        task_id=task.id,
        status=task.status,
        phase=task.phase,
        reason=why.reason,
        text=why.text,
        mover=why.mover,
        since=why.since,
        due_at=why.due_at,
        step=live.step.name if live else None,
        attempt=live.step.attempt if live else None,
        service=live.step.service if live else None,
        lane=live.lane if live else None,
        worker=live.worker if live else None,
        records_before=max(0, why.reading.unread - 1) if why.reading and waits else None,
        members=why.reading.members if why.reading else None,
        remarks=list(_remarks(history, readers, why, now)),
    )


def last_attempt(history: TaskHistory) -> PastAttempt | None:
    """The attempt that counts, of the current run; None before the first one."""
    of_run = [one for one in history.attempts if one.step.run == history.task.run]
    return of_run[-1] if of_run else None


def _why(
    history: TaskHistory, attempt: PastAttempt | None, readers: Readers | None, now: datetime
) -> _Why:
    task = history.task
    if task.status in ("completed", "failed", "cancelled"):
        return _ended(history)
    if task.phase == Phase.HELD:
        text = "It was created with hold, and waits for an execute command."
        return _Why(Reason.HELD, text, "caller", task.updated_at)
    retry_at = attempt.next_attempt_at if attempt and task.phase == Phase.RETRY_SCHEDULED else None
    if retry_at is not None and retry_at > now:
        assert attempt is not None
        code = attempt.step.error.code if attempt.step.error else "unknown"
        text = (
            f"Attempt {attempt.step.attempt} of {attempt.step.name} failed ({code}); "
            "the router sends the next one when it is due."
        )
        return _Why(Reason.RETRY_WAITING, text, "router", task.updated_at, retry_at)
    if readers is None:
        text = (
            "Kafka did not answer, or refuses this account, so it is not known who reads the "
            "records of this task."
        )
        return _Why(Reason.UNKNOWN, text, "operator", task.updated_at)
    if task.phase == Phase.ACCEPTED or readers.step is None or attempt is None:
        return _of_router(readers.router, "Its creation", task.created_at)
    if retry_at is not None and not (readers.step.unread or readers.step.missing):
        return _of_router(readers.router, "Its retry, which is due,", retry_at)
    return _of_step(attempt, readers, retry_at or attempt.dispatched_at or task.updated_at)


def _ended(history: TaskHistory) -> _Why:
    task = history.task
    because = f" ({task.error.code})" if task.error else ""
    again = "" if task.status == "completed" else " A retry begins a new run."
    since = task.completed_at or task.updated_at
    ended = "was cancelled" if task.status == "cancelled" else task.status
    return _Why(Reason.ENDED, f"It {ended}{because}.{again}", None, since)


def _of_step(attempt: PastAttempt, readers: Readers, since: datetime) -> _Why:
    """A command is sent: a worker has to run it, or the router to read its result."""
    reading, name, service = readers.step, attempt.step.name, attempt.step.service
    assert reading is not None
    mover, lane = f"step.{name}", attempt.lane or "normal"
    if reading.missing:
        text = (
            f"The topic of {name}'s commands in the lane {lane} does not exist: the step was "
            "removed, or `orchestrator topics apply` was not run."
        )
        return _Why(Reason.NO_WORKER, text, "operator", since, reading=reading)
    if not reading.unread:
        return _of_router(readers.router, f"The result of {name}", since)
    if reading.members == 0:
        text = (
            f"No worker of {name} is in its group: none runs, or it is paused or cut off. "
            f"{_count(reading.unread, 'command')} in this part of the lane {lane}."
        )
        return _Why(Reason.NO_WORKER, text, mover, since, reading=reading)
    if attempt.step.started_at is not None and attempt.step.completed_at is None:
        text = f"{attempt.worker or 'A worker'} calls {service}."
        return _Why(Reason.CALL_RUNNING, text, mover, attempt.step.started_at, reading=reading)
    # After a call that runs: the note is of the group, and a probe is a call that runs.
    held = _held(attempt, reading.note)
    if held is not None:
        text = f"A worker of {name} holds its command back, because {_HELD[held][1]}."
        return _Why(held, text.format(service=service), mover, since, reading=reading)
    before = reading.unread - 1
    place = f"behind at most {_count(before, 'other')}" if before else "the next one"
    text = (
        f"Its command is {place} in the lane {lane} of {name}: {_count(reading.members, 'worker')}."
    )
    return _Why(Reason.LANE_BEHIND, text, mover, since, reading=reading)


_HELD = {
    Reason.FLOOD_GUARD: (Hold.FLOOD_GUARD, "most calls of {service} ended as dead letters"),
    Reason.BREAKER_OPEN: (
        Hold.BREAKER_OPEN,
        "most calls of {service} failed; a few calls find out when it is back",
    ),
    Reason.RETRY_BUDGET: (Hold.RETRIES, "too many calls of {service} were retries"),
    Reason.THROTTLED: (
        Hold.THROTTLED,
        "{service} refused calls as too many, and gets fewer at once",
    ),
}
"""With what a worker says, and what it means; the first one that fits is told."""


def _held(attempt: PastAttempt, note: str) -> Reason | None:
    """Why a worker holds the command back, by the note of its group."""
    said = holds_of(note, attempt.step.service)
    if attempt.step.attempt == 1:
        said = [hold for hold in said if hold is not Hold.RETRIES]
    return next((reason for reason, (hold, _) in _HELD.items() if hold in said), None)


def _of_router(reading: GroupReading, what: str, since: datetime) -> _Why:
    if reading.members == 0:
        text = (
            f"{what} waits to be decided, and no router is in its group: none runs, or it is "
            "paused or cut off."
        )
        return _Why(Reason.NO_ROUTER, text, "router", since, reading=reading)
    text = (
        f"{what} waits to be decided: the router has {_count(reading.unread, 'record')} of its "
        "partition to read."
    )
    return _Why(Reason.ROUTER_BEHIND, text, "router", since, reading=reading)


def _remarks(
    history: TaskHistory, readers: Readers | None, why: _Why, now: datetime
) -> Iterator[Remark]:
    deadline = history.task.deadline_at
    if why.reason is not Reason.ENDED and deadline is not None:
        left = deadline - now
        if left <= timedelta(0):
            text = "Its deadline has passed: the router ends it as failed."
            yield Remark(code="DEADLINE_PASSED", text=text)
        elif left <= NEAR or (why.due_at is not None and why.due_at >= deadline):
            text = f"Its deadline is in {left.total_seconds():.0f} s: then it fails."
            yield Remark(code="DEADLINE_NEAR", text=text)
    if readers is None:
        return
    if not readers.router.members and why.reason not in (Reason.ENDED, Reason.NO_ROUTER):
        text = "No router is in its group: a command for it, or its result, is not decided."
        yield Remark(code="NO_ROUTER", text=text)
    if not readers.sink.unread:
        return
    if readers.sink.members == 0:
        text = "No sink is in its group: lists and SQL do not show what happened since."
        yield Remark(code="NO_SINK", text=text)
    else:
        text = (
            f"The sink has {_count(readers.sink.unread, 'record')} of its partition to write: "
            "lists and SQL show an older state."
        )
        yield Remark(code="SINK_BEHIND", text=text)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
