"""Dead letters together with the actions on them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from schemas.dead_letter_record import DeadLetter
from tasks.letters.ledger import REPLAYS_MAX, Ledger, LetterState, LetterStatus


@dataclass(frozen=True, slots=True)
class KnownLetter:
    """A dead letter, its ledger state, and the status that follows from both."""

    letter: DeadLetter
    state: LetterState

    @property
    def status(self) -> LetterStatus:
        """The status of the ledger; an open letter whose replays are used up is parked."""
        used_up = self.state.replays >= REPLAYS_MAX and not self.state.mended
        if self.state.status is LetterStatus.OPEN and used_up:
            return LetterStatus.PARKED
        return self.state.status


class KnownLetters:
    """All dead letters up to some point, each once: a second letter of a record is a copy."""

    def __init__(self, letters: Iterable[DeadLetter], ledger: Ledger) -> None:
        self.ledger = ledger
        self._letters: dict[str, DeadLetter] = {}
        self._steps: dict[tuple[str, int], DeadLetter] = {}
        for letter in letters:
            self._letters.setdefault(letter.id, letter)
            if letter.of_step and letter.task_id is not None and letter.run is not None:
                self._steps[letter.task_id, letter.run] = letter

    def ordered(self) -> list[KnownLetter]:
        """Every letter, oldest first."""
        ordered = sorted(
            self._letters.values(),
            key=lambda found: (found.dead_lettered_at, found.topic, found.partition, found.offset),
        )
        return [self._known(letter) for letter in ordered]

    def find(self, prefix: str) -> list[KnownLetter]:
        """The letters whose id begins with ``prefix``."""
        return [
            self._known(letter)
            for letter_id, letter in self._letters.items()
            if letter_id.startswith(prefix)
        ]

    def _known(self, letter: DeadLetter) -> KnownLetter:
        state = self.ledger.state_of(letter.id)
        carried = self._carried(letter)
        return KnownLetter(
            letter, state if carried <= state.replays else replace(state, replays=carried)
        )

    def _carried(self, letter: DeadLetter) -> int:
        """How often the record was replayed before it became this letter.

        A record carries its count. A step's command is rebuilt in each run, so its count is taken
        from the letter of the previous run.
        """
        if not letter.of_step or letter.task_id is None or letter.run is None:
            return letter.replays
        before = self._steps.get((letter.task_id, letter.run - 1))
        return 0 if before is None else self.ledger.state_of(before.id).replays
