"""Finds dead letters for the use cases: whose they are, where they are, within a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from orchestrator.api.access.caller import ANY_TENANT, Caller
from orchestrator.api.errors import ApiError, Kind, invalid, unavailable
from orchestrator.api.letters.requests import LISTS, LetterChoice
from orchestrator.api.limits.slots import TenantSlots
from orchestrator.api.replica.parts import Parts
from orchestrator.letters.connections import LetterConnections, open_connections
from schemas.dead_letter_record import DeadLetter
from schemas.limits import ID_PATTERN
from schemas.records import DeadLetterAction
from sinks.errors import SinkUnavailableError
from sinks.letters import pages as letter_pages
from streams.errors import KafkaUnavailableError, PublishError, PublishRefusedError
from streams.letters.scan import with_values
from tasks.letters.filter import LetterFilter
from tasks.letters.known import KnownLetter
from tasks.letters.ledger import state_from
from tasks.letters.topic_names import topic_names

log = structlog.get_logger()

LOOK_S = 10.0
"""Time limit of a call about one letter: without Postgres it reads all dead-letter topics."""


@dataclass(frozen=True, slots=True)
class FoundLetter:
    """A letter with its state."""

    known: KnownLetter
    whole: DeadLetter | None
    """The letter as its topic holds it; None if it has expired."""
    history: Sequence[DeadLetterAction]


class LetterLookup:
    """Opens connections, a few at a time, and finds letters of the caller.

    A letter is looked up in the index, and in the topics while Postgres is down. Its state is read
    from the ledger, so that a caller sees its own latest action.
    """

    def __init__(self, parts: Parts, slots: TenantSlots) -> None:
        self._parts = parts
        self._slots = slots

    @asynccontextmanager
    async def open(
        self, caller: Caller, bound_s: float = LOOK_S
    ) -> AsyncIterator[LetterConnections]:
        """Open the connections for one call.

        Raises:
            ApiError: WORK_LIMITED: the tenant has too many such calls; UNAVAILABLE: Kafka does not
                answer, or the work took too long.
        """
        try:
            async with (
                self._slots.of(caller.tenant_id),
                asyncio.timeout(bound_s),
                open_connections(self._parts.system) as opened,
            ):
                yield opened
        except (TimeoutError, KafkaUnavailableError, PublishError, PublishRefusedError) as error:
            log.warning("letters_unavailable", error=type(error).__name__)
            raise unavailable("the dead-letter topics do not answer in time") from error

    @asynccontextmanager
    async def letter(
        self, caller: Caller, letter_id: str
    ) -> AsyncIterator[tuple[LetterConnections, FoundLetter]]:
        """Open the connections, and find one letter of the caller.

        Raises:
            ApiError: NOT_FOUND, also for a letter of another tenant; ID_INVALID; as
                :meth:`open`.
        """
        if not ID_PATTERN.fullmatch(letter_id):
            raise ApiError("ID_INVALID", f"letter_id: not {ID_PATTERN.pattern}", field="letter_id")
        # An unknown id costs no connection to Kafka.
        known_letters = await self._indexed(caller, [letter_id])
        if known_letters is not None:
            known = _one(known_letters, letter_id)
        async with self.open(caller) as opened:
            if known_letters is None:
                known = _one(await self.scanned(opened, owned(caller)), letter_id)
            yield opened, await self._whole(opened, known)

    async def by_ids(
        self, connections: LetterConnections, caller: Caller, ids: Sequence[str]
    ) -> list[KnownLetter]:
        """The caller's letters without values, and those from which their counts continue."""
        known_letters = await self._indexed(caller, ids)
        if known_letters is not None:
            return known_letters
        wanted = frozenset(ids)
        scanned = await self.scanned(connections, owned(caller))
        steps = {
            (c.letter.task_id, (c.letter.run or 0) - 1) for c in scanned if c.letter.id in wanted
        }
        return [
            known
            for known in scanned
            if known.letter.id in wanted
            or (known.letter.of_step and (known.letter.task_id, known.letter.run) in steps)
        ]

    async def scanned(
        self, connections: LetterConnections, which: LetterFilter
    ) -> list[KnownLetter]:
        """Letters that match, from the topics alone; oldest first."""
        all_letters = await connections.all_letters(values=False)
        found = [known for known in all_letters.ordered() if which.matches(known)]
        return sorted(found, key=lambda known: (known.letter.dead_lettered_at, known.letter.id))

    def filter_of(
        self, caller: Caller, choice: LetterChoice, *, status: Sequence[str] = ()
    ) -> LetterFilter:
        """The filter for the caller's chosen letters.

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

    async def _indexed(self, caller: Caller, ids: Sequence[str]) -> list[KnownLetter] | None:
        which = owned(caller)
        try:
            return await self._parts.projection.ask(
                lambda reader: letter_pages.by_id(reader, which, ids)
            )
        except SinkUnavailableError:
            return None

    async def _whole(self, connections: LetterConnections, known: KnownLetter) -> FoundLetter:
        letter = known.letter
        whole = await with_values(connections.reader, [letter], connections.topics)
        history = await connections.log.history(letter.id, since_ms=letter.dead_lettered_at)
        state = state_from(history)
        counted = replace(state, replays=max(state.replays, known.state.replays))
        read = whole[0] if whole else None
        return FoundLetter(KnownLetter(read or letter, counted), read, history)


def owned(caller: Caller) -> LetterFilter:
    """The letters that a caller sees: its tenant's; for an operator also those without a tenant.

    An operator who names no tenant sees all letters.
    """
    if caller.tenant_id == ANY_TENANT:
        return LetterFilter()
    return LetterFilter(tenant=(caller.tenant_id,), ownerless=caller.operator)


def letter_unknown(letter_id: str, *, field: str | None = None) -> ApiError:
    """This tenant has no such letter."""
    message = f"there is no dead letter {letter_id[:64]!a}"
    return ApiError("LETTER_UNKNOWN", message, kind=Kind.NOT_FOUND, field=field)


def _one(known_letters: Sequence[KnownLetter], letter_id: str) -> KnownLetter:
    for known in known_letters:
        if known.letter.id == letter_id:
            return known
    raise letter_unknown(letter_id)


def _millis(time: datetime | None, field: str) -> int | None:
    if time is None:
        return None
    if time.tzinfo is None:
        raise invalid(field, "a time without a zone")
    return int(time.timestamp() * 1000)
