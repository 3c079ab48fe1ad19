"""The rules of the protocol, and how to leave each of them out.

A switch replaces a small part of our own code. With all rules on, no invariant breaks; a rule
is needed if without it some seed breaks one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

import tasks.apply
import tasks.decide
from schemas.records import EventKind, StepResult, TaskEvent, TaskId
from streams.history.acceptance import Ownership
from streams.ownership import owner, recovery
from streams.ownership.decider import Decider
from streams.ownership.owned_log import OwnedLog
from streams.ownership.owner import Owner
from streams.ownership.ports import Sealed, StateRecord
from streams.ownership.progress import Inputs
from streams.ownership.recovery import Recovery
from streams.ownership.snapshots import Snapshots
from streams.ownership.work import Work
from tasks.deciding.context import Context
from tasks.deciding.reported import on_reported
from tasks.decision import Decision
from tasks.task import Task
from tests.simulation.group import NO_GENERATION
from tests.simulation.process import Process, Session

Patch = tuple[object, str, object]
"""Where a part is, its name there, and what takes its place."""


@dataclass(frozen=True, slots=True)
class Switch:
    """A rule that can be left out."""

    rule: str
    patches: Sequence[Patch]


@contextlib.contextmanager
def without(name: str | None) -> Iterator[None]:
    """Leave out a rule of ``SWITCHES``; None: leave out nothing."""
    patches = () if name is None else SWITCHES[name].patches
    before = [(holder, attribute, getattr(holder, attribute)) for holder, attribute, _ in patches]
    for holder, attribute, replacement in patches:
        setattr(holder, attribute, replacement)
    try:
        yield
    finally:
        for holder, attribute, original in before:
            setattr(holder, attribute, original)


def _do(*order: str) -> Callable[[Owner, Work], Awaitable[None]]:
    """``Owner._do`` with its steps in another order."""

    async def do(self: Owner, work: Work) -> None:
        for step in order:
            await _STEPS[step](self, work)

    return do


async def _refuse(self: Owner, work: Work) -> None:
    await self._world.dead_letter(work.refused)


async def _append(self: Owner, work: Work) -> None:
    await (self._log.append(work.events) if work.events else self._log.prove())


async def _send(self: Owner, work: Work) -> None:
    await self._world.send(work.effects)
    await self._world.dead_letter(work.letters)


async def _ack(self: Owner, work: Work) -> None:
    for arrival in work.done:
        for released in self._acks[arrival.topic].finish(arrival):
            released.ack()


async def _snapshot(self: Owner, work: Work) -> None:
    await self._snapshot()


_STEPS = {
    "refuse": _refuse,
    "append": _append,
    "send": _send,
    "ack": _ack,
    "snapshot": _snapshot,
}


async def _append_unproved(self: OwnedLog, events: Sequence[Sealed]) -> None:
    offsets = await self._world.log_append(events)
    self.next_offset = max(self.next_offset, offsets[-1] + 1)


async def _prove_nothing(self: OwnedLog) -> None:
    pass


async def _pass_nothing(self: Inputs) -> None:
    pass


async def _load_to_the_first_end(self: Snapshots) -> list[StateRecord]:
    position, end = await self._world.state_bounds()
    found: list[StateRecord] = []
    while position < end:
        records, position = await self._world.state_read(position, end)
        found += records
    self._looked_to = end
    return found


async def _look_at_nothing(self: Snapshots, tasks: Mapping[TaskId, Task], by: Ownership) -> int:
    return await self._world.state_end()


def _use_snapshots_whole(self: Recovery, start: int) -> int:
    start = _use_snapshots(self, start)
    self._as_of.clear()
    return start


def _result_of_any_attempt(task: Task | None, record: StepResult, context: Context) -> Decision:
    waiting = None if task is None else task.outstanding
    if task and waiting and (record.run, record.step) == (task.run, waiting.step):
        record = msgspec.structs.replace(record, command_id=waiting.command_id)
    return on_reported(task, record, context)


def _fold_without_whole_tasks(task: Task | None, event: TaskEvent) -> Task | None:
    next_one = task is not None and event.sequence == task.sequence + 1
    return task if event.kind is EventKind.RETRIED and not next_one else _fold(task, event)


def _fold_without_new_lives(task: Task | None, event: TaskEvent) -> Task | None:
    begins_again = event.kind is EventKind.CREATED and task is not None
    return task if begins_again else _fold(task, event)


def _causes_only(self: Recovery, event: TaskEvent) -> bool:
    found = self.committed.get(event.cause_topic)
    return event.cause_offset >= (0 if found is None else found.offset)


def _any_commit(self: Recovery, event: TaskEvent) -> bool:
    return event.cause_offset < 0 or _causes_only(self, event)


def _commit_without_generation(self: Process, session: Session) -> None:
    self.group.commit(self.name, NO_GENERATION, session.acked, session.epoch)


_fold = tasks.apply.fold
_use_snapshots = Recovery._use_snapshots

SWITCHES: Mapping[str, Switch] = {
    "proof": Switch(
        "An append counts only if it landed where it must, or nobody took over in between.",
        [(OwnedLog, "append", _append_unproved), (OwnedLog, "prove", _prove_nothing)],
    ),
    "proof_of_empty_batches": Switch(
        "A batch that appends nothing proves that nobody took over.",
        [(OwnedLog, "prove", _prove_nothing)],
    ),
    "effects_after_proof": Switch(
        "Effects are done only after their events are proved.",
        [(Owner, "_do", _do("send", "refuse", "append", "ack"))],
    ),
    "acks_after_effects": Switch(
        "An input is acknowledged only after what follows from it is done.",
        [(Owner, "_do", _do("refuse", "append", "ack", "send"))],
    ),
    "refused_first": Switch(
        "What is refused whatever the state is, is dead-lettered before any event of its batch.",
        [(Owner, "_do", _do("append", "refuse", "send", "ack"))],
    ),
    "checkpoint_after_effects": Switch(
        "A checkpoint passes an event only when its effects are done.",
        [(Owner, "_do", _do("refuse", "append", "snapshot", "send", "ack"))],
    ),
    "redo": Switch(
        "A takeover does again what may be undone.",
        [(Recovery, "redo", lambda self: [])],
    ),
    "redo_of_timers": Switch(
        "A takeover does again what followed from timers since the checkpoint.",
        [(Recovery, "_may_be_undone", _causes_only)],
    ),
    "epoch_of_commits": Switch(
        "What a deposed owner committed says nothing of the effects of its successor's events.",
        [(Recovery, "_may_be_undone", _any_commit)],
    ),
    "decided_offsets": Switch(
        "An input at or below the last decided one of its topic decides to nothing.",
        [(tasks.decide, "_decided_before", lambda task, cause: False)],
    ),
    "outstanding_attempt": Switch(
        "A result counts only for the attempt that its task waits for.",
        [(tasks.decide, "on_reported", _result_of_any_attempt)],
    ),
    "as_of": Switch(
        "An event is applied to a task only at or after its snapshot's offset.",
        [(Recovery, "_use_snapshots", _use_snapshots_whole)],
    ),
    "committed_is_decided": Switch(
        "What was committed, or decided for a forgotten task, before a takeover is a duplicate.",
        [(Decider, "_was_decided", lambda self, arrival: False)],
    ),
    "committed_is_read": Switch(
        "What a deposed owner of the same process acknowledged counts as read.",
        [(Inputs, "_pass_committed", _pass_nothing)],
    ),
    "late_snapshots": Switch(
        "A snapshot that a former owner wrote late is brought up to date.",
        [(Recovery, "_is_late", lambda self, record: False)],
    ),
    "rewriting": Switch(
        "Before a checkpoint an owner writes again what someone else wrote.",
        [(Snapshots, "_look", _look_at_nothing)],
    ),
    "state_end": Switch(
        "Snapshots are read up to an end that did not move while they were read.",
        [(Snapshots, "load", _load_to_the_first_end)],
    ),
    "new_owner_id": Switch(
        "Each takeover has an owner id of its own.",
        [(OwnedLog, "_new_owner_id", lambda self: "router")],
    ),
    "orphans_in_checkpoints": Switch(
        "A checkpoint names the inputs that were decided for tasks that are forgotten.",
        [(Recovery, "_use_orphans", lambda self, checkpoint: None)],
    ),
    "expelled_commits": Switch(
        "A process that its group has expelled commits nothing before it has joined again.",
        [(Process, "_commit_expelled", _commit_without_generation)],
    ),
    "forgetting_taken": Switch(
        "A task is remembered while its owner has yet to take inputs that others committed.",
        [(Inputs, "settled", lambda self, committed: committed)],
    ),
    "forgetting_committed": Switch(
        "A task is forgotten only when none of its inputs can come again.",
        [(owner, "inputs_are_settled", lambda task, confirmed: True)],
    ),
    "decided_created": Switch(
        "A create at or below the decided offset of its topic was decided.",
        [(Decider, "_was_forgotten", lambda self, given: False)],
    ),
    "whole_retried": Switch(
        "A retry's event carries the whole task.",
        [
            (recovery, "fold", _fold_without_whole_tasks),
            (tasks.apply, "fold", _fold_without_whole_tasks),
        ],
    ),
    "new_life": Switch(
        "A create of a forgotten id begins a new life for every reader.",
        [
            (recovery, "fold", _fold_without_new_lives),
            (tasks.apply, "fold", _fold_without_new_lives),
        ],
    ),
}
