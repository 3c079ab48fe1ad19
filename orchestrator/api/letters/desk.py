"""How the use cases about dead letters get at them: whose they are, where, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from orchestrator.api.access import Caller
from orchestrator.api.errors import ApiError, Kind, invalid, unavailable
from orchestrator.api.letters.requests import LISTS, LetterChoice
from orchestrator.api.replica.parts import Parts
from orchestrator.letters.choosing import topic_names
from orchestrator.letters.workplace import Workplace, workplace
from schemas.buried import DeadLetter
from schemas.limits import ID_PATTERN
from schemas.records import DeadLetterAction
from sinks.errors import SinkUnavailableError
from sinks.letters import pages as letter_pages
from streams.errors import KafkaUnavailableError, PublishError, PublishRefusedError
from streams.letters.scan import with_values
from tasks.letters.bench import Case
from tasks.letters.filter import LetterFilter
from tasks.letters.ledger import entry_of

log = structlog.get_logger()

_AT_ONCE = 2
LOOK_S = 10.0
"""Bound of a call about one letter: without Postgres it reads all dead-letter topics."""


@dataclass(frozen=True, slots=True)
class Found:
    """A letter, and what was done with it."""

    case: Case
    whole: DeadLetter | None
    """As its topic has it; None when it expired."""
    history: Sequence[DeadLetterAction]


class LetterDesk:
    """Opens workplaces, a few at a time, and finds letters of the caller.

    A letter is looked for in the index, and while Postgres is away in the topics. What was
    done with it is read from the ledger, so that a caller sees what he just did.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._slots = asyncio.Semaphore(_AT_ONCE)

    @asynccontextmanager
    async def place(self, bound_s: float = LOOK_S) -> AsyncIterator[Workplace]:
        """A workplace for one call.

        Raises:
            ApiError: UNAVAILABLE; Kafka does not answer, or the work took too long.
        """
        try:
            async with (
                asyncio.timeout(bound_s),
                self._slots,
                workplace(self._parts.system) as opened,
            ):
                yield opened
        except (TimeoutError, KafkaUnavailableError, PublishError, PublishRefusedError) as error:
            log.warning("letters_unavailable", error=type(error).__name__)
            raise unavailable("the dead-letter topics do not answer in time") from error

    @asynccontextmanager
    async def letter(
        self, caller: Caller, letter_id: str
    ) -> AsyncIterator[tuple[Workplace, Found]]:
        """A workplace, and one letter of the caller on it.

        Raises:
            ApiError: NOT_FOUND, also for a letter of another tenant; ID_INVALID; as
                :meth:`place`.
        """
        if not ID_PATTERN.fullmatch(letter_id):
            raise ApiError("ID_INVALID", f"letter_id: not {ID_PATTERN.pattern}", field="letter_id")
        # An id that nobody knows costs no connection to Kafka.
        cases = await self._indexed(caller, [letter_id])
        if cases is not None:
            known = _one(cases, letter_id)
        async with self.place() as opened:
            if cases is None:
                known = _one(await self.scanned(opened, owned(caller)), letter_id)
            yield opened, await self._whole(opened, known)

    async def cases(self, place: Workplace, caller: Caller, ids: Sequence[str]) -> list[Case]:
        """Letters of the caller, without values, and those their counts of replays go on from."""
        cases = await self._indexed(caller, ids)
        if cases is not None:
            return cases
        wanted = frozenset(ids)
        scanned = await self.scanned(place, owned(caller))
        steps = {
            (c.letter.task_id, (c.letter.run or 0) - 1) for c in scanned if c.letter.id in wanted
        }
        return [
            case
            for case in scanned
            if case.letter.id in wanted
            or (case.letter.of_step and (case.letter.task_id, case.letter.run) in steps)
        ]

    async def scanned(self, place: Workplace, which: LetterFilter) -> list[Case]:
        """Letters that match, from the topics alone; oldest first."""
        bench = await place.bench(values=False)
        found = [case for case in bench.cases() if which.matches(case)]
        return sorted(found, key=lambda case: (case.letter.dead_lettered_at, case.letter.id))

    def filter_of(
        self, caller: Caller, choice: LetterChoice, *, status: Sequence[str] = ()
    ) -> LetterFilter:
        """The letters of the caller that are chosen.

        Raises:
            ApiError: FIELD_INVALID.
        """
        lists = {name: getattr(choice, name) for name in LISTS - {"topic", "task_id"}}
        prefix = self._parts.system.topics.prefix
        return replace(
            owned(caller),
            topic=topic_names(choice.topic, prefix),
            task=choice.task_id,
            status=tuple(status),
            since_ms=_millis(choice.since, "since"),
            until_ms=_millis(choice.until, "until"),
            **lists,
        )

    async def _indexed(self, caller: Caller, ids: Sequence[str]) -> list[Case] | None:
        which = owned(caller)
        try:
            return await self._parts.history.ask(
                lambda reader: letter_pages.by_id(reader, which, ids)
            )
        except SinkUnavailableError:
            return None

    async def _whole(self, place: Workplace, known: Case) -> Found:
        letter = known.letter
        whole = await with_values(place.reader, [letter], place.topics)
        history = await place.log.history(letter.id, since_ms=letter.dead_lettered_at)
        entry = entry_of(history)
        counted = replace(entry, replays=max(entry.replays, known.entry.replays))
        read = whole[0] if whole else None
        return Found(Case(read or letter, counted), read, history)


def owned(caller: Caller) -> LetterFilter:
    """Whose letters a caller sees: his tenant's; an operator also those of nobody."""
    return LetterFilter(tenant=(caller.tenant_id,), ownerless=caller.operator)


def letter_unknown(letter_id: str, *, field: str | None = None) -> ApiError:
    """There is no such letter of this tenant."""
    message = f"there is no dead letter {letter_id[:64]!a}"
    return ApiError("LETTER_UNKNOWN", message, kind=Kind.NOT_FOUND, field=field)


def _one(cases: Sequence[Case], letter_id: str) -> Case:
    for case in cases:
        if case.letter.id == letter_id:
            return case
    raise letter_unknown(letter_id)


def _millis(time: datetime | None, field: str) -> int | None:
    if time is None:
        return None
    if time.tzinfo is None:
        raise invalid(field, "a time without a zone")
    return int(time.timestamp() * 1000)
