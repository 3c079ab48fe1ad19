"""The actions on dead letters: the fold of the ``dlq-actions`` topic. Pure.

The topic has one partition, so every reader folds the same order to the same state: the
replay tool in memory, the index into its table.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from schemas.records import DeadLetterAction, DeadLetterActionKind, DeadLetterItem, Millis

REPLAYS_MAX = 3
"""A record that failed after this number of replays is parked: the cause has to be fixed."""


class LetterStatus(StrEnum):
    """The status of a dead letter."""

    OPEN = "open"
    """No action was taken. After a replay crashed: still open, or replaying."""
    REPLAYING = "replaying"
    """A replay sent it, or was about to. The index resolves it when the result is known."""
    RESOLVED = "resolved"
    """Nothing is left to do: processed, failed again as another letter, or its task went on."""
    PARKED = "parked"
    """Replayed ``REPLAYS_MAX`` times without success: edit or discard it, or replay with
    ``--force``."""
    DISCARDED = "discarded"
    """An operator gave it up."""


@dataclass(frozen=True, slots=True)
class Target:
    """A position in a topic: of a record that was sent, or from which to search for it."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterState:
    """The state of one dead letter by its actions. The last action counts."""

    status: LetterStatus = LetterStatus.OPEN
    reason: str = ""
    actor: str = ""
    at: int = 0
    """Time of the last action, Unix milliseconds, UTC; 0: no action."""
    replays: int = 0
    """Replays of the record, including those of earlier letters, as of its last replay."""
    replay_id: str | None = None
    sent: Target | None = None
    intended: Target | None = None
    """Set between intent and outcome: a replay that was killed in between may have sent it."""
    edited: bytes | None = field(default=None, repr=False)
    sha256: str | None = None
    """SHA-256 of the edited value."""
    mended: bool = False
    """True: edited since its last replay, so the count of replays does not park it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of the replay tool."""

    replay_id: str
    started_offset: int
    last_offset: int
    """The offset of its last heartbeat or action in ``dlq-actions``."""
    actor: str
    reason: str
    filter: str
    started_at: Millis
    stop_requested: bool = False
    outcome: str = ""
    """Empty while the run lasts, and permanently if it was killed."""
    counts: dict[str, int] = field(default_factory=dict)


class Ledger:
    """The content of ``dlq-actions``, up to some offset."""

    def __init__(self) -> None:
        self.states: dict[str, LetterState] = {}
        self.runs: dict[str, Run] = {}

    def state_of(self, letter_id: str) -> LetterState:
        """The state of a letter; an empty state if it has no actions."""
        return self.states.get(letter_id, _FRESH)

    def add(self, offset: int, action: DeadLetterAction) -> None:
        """Take the next action."""
        for item in action.items:
            self.states[item.letter_id] = after(self.state_of(item.letter_id), action, item)
        if action.replay_id is not None:
            self._add_to_run(action.replay_id, offset, action)

    def unended(self) -> list[Run]:
        """Runs without a known end or kill, oldest first."""
        return [run for run in self.runs.values() if not run.outcome]

    def _add_to_run(self, replay_id: str, offset: int, action: DeadLetterAction) -> None:
        run = self.runs.get(replay_id)
        if action.kind is DeadLetterActionKind.REPLAY_STARTED and run is None:
            self.runs[replay_id] = Run(
                replay_id=replay_id,
                started_offset=offset,
                last_offset=offset,
                actor=action.actor,
                reason=action.reason,
                filter=action.filter,
                started_at=action.at,
            )
        elif run is not None and action.kind is DeadLetterActionKind.REPLAY_STOP_REQUESTED:
            # Written by another process, so it does not show that the run is alive.
            self.runs[replay_id] = replace(run, stop_requested=True)
        elif run is not None:
            self.runs[replay_id] = replace(
                run,
                last_offset=offset,
                outcome=action.outcome or run.outcome,
                counts=action.counts or run.counts,
            )


def state_from(history: Iterable[DeadLetterAction]) -> LetterState:
    """The state of one letter, from all actions about it, each reduced to this letter."""
    state = _FRESH
    for action in history:
        for item in action.items:
            state = after(state, action, item)
    return state


def after(state: LetterState, action: DeadLetterAction, item: DeadLetterItem) -> LetterState:
    """The state of a letter after one more action about it."""
    status = _STATUS_AFTER.get(action.kind)
    if status is None:
        return state
    changes: dict[str, Any] = {}
    target = Target(item.topic, item.partition, item.offset)
    match action.kind:
        case DeadLetterActionKind.REPLAY_INTENDED:
            changes = {"replay_id": action.replay_id, "intended": target}
        case DeadLetterActionKind.REPLAYED:
            counted = max(state.replays, item.count)
            changes = {"replay_id": action.replay_id, "sent": target}
            changes |= {"replays": counted, "mended": False}
        case DeadLetterActionKind.REOPENED:
            changes = {"replays": max(state.replays, item.count)}
        case DeadLetterActionKind.EDITED:
            value = _bytes(action.value_base64)
            changes = {"edited": value, "sha256": action.sha256_after, "mended": True}
        case _:
            pass
    # One copy for each action, which may name many thousands of letters.
    return replace(
        state,
        status=status,
        reason=item.reason or action.reason,
        actor=action.actor,
        at=action.at,
        **{"intended": None, **changes},
    )


_FRESH = LetterState()
_STATUS_AFTER = {
    DeadLetterActionKind.REPLAY_INTENDED: LetterStatus.REPLAYING,
    DeadLetterActionKind.REPLAYED: LetterStatus.REPLAYING,
    DeadLetterActionKind.EDITED: LetterStatus.OPEN,
    DeadLetterActionKind.REOPENED: LetterStatus.OPEN,
    DeadLetterActionKind.PARKED: LetterStatus.PARKED,
    DeadLetterActionKind.DISCARDED: LetterStatus.DISCARDED,
    DeadLetterActionKind.RESOLVED: LetterStatus.RESOLVED,
}


def _bytes(text: str | None) -> bytes | None:
    try:
        return None if text is None else base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
