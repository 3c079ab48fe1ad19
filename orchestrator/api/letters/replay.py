"""The use case that replays dead letters, a limited number in each call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.api.access.caller import Caller
from orchestrator.api.errors import ApiError, Kind, invalid
from orchestrator.api.letters.actions import check_reason
from orchestrator.api.letters.lookup import LetterLookup, letter_unknown
from orchestrator.api.letters.queries import cursor_invalid, cursor_of
from orchestrator.api.letters.requests import LISTS, ReplayLetters
from orchestrator.api.letters.views import ReplayAnswer
from orchestrator.api.replica.parts import Parts
from orchestrator.letters.connections import LetterConnections
from orchestrator.letters.replay_parts import replay_parts
from sinks.errors import SinkUnavailableError
from sinks.letters import pages as letter_pages
from sinks.letters.pages import LetterCursor
from streams.letters.action_log import new_id
from streams.letters.errors import ReplayRunningError, ReplaySupersededError
from streams.letters.replay import Replay, ReplayLimits, preview
from streams.letters.scan import with_values
from tasks.letters.filter import LetterFilter
from tasks.letters.known import KnownLetter, KnownLetters
from tasks.letters.ledger import LetterStatus
from tasks.letters.plan import ReplayOrder, created_tasks


@dataclass(frozen=True, slots=True)
class Meant:
    """The letters of one call."""

    known_letters: Sequence[KnownLetter]
    """Without values."""
    others: Sequence[KnownLetter]
    """Letters from which the counts of replays continue."""
    next_page_token: str | None = None


class LetterReplay:
    """Replays letters of a caller's tenant, as ``orchestrator dlq replay`` does."""

    def __init__(self, parts: Parts, lookup: LetterLookup) -> None:
        self._parts = parts
        self._lookup = lookup
        self._running: set[asyncio.Task[ReplayAnswer]] = set()

    async def replay(self, caller: Caller, request: ReplayLetters) -> ReplayAnswer:
        """Send letters back, or report what would be sent.

        A caller that disconnects stops nothing: a replay that has begun is finished.

        Raises:
            ApiError: LETTER_UNKNOWN for an id that is not the tenant's, REPLAY_RUNNING,
                REPLAY_SUPERSEDED; TASKS_LIMITED, HELD_LIMITED: the tenant may not have the tasks
                that its letters create, nothing was sent; UNAVAILABLE: some letters may have been
                sent. Repeat the same call: no letter is sent twice.
        """
        _check(request)
        chosen = self._lookup.filter_of(caller, request)
        running = asyncio.create_task(self._replay(caller, request, chosen))
        self._running.add(running)
        running.add_done_callback(self._ended)
        return await asyncio.shield(running)

    @property
    def running(self) -> int:
        """The number of replays that run in this process."""
        return len(self._running)

    async def close(self) -> None:
        """Stop running replays, as a kill would: the next replay finds out what was sent."""
        stopped = list(self._running)
        for running in stopped:
            running.cancel()
        await asyncio.gather(*stopped, return_exceptions=True)

    def _ended(self, running: asyncio.Task[ReplayAnswer]) -> None:
        self._running.discard(running)
        if not running.cancelled():
            running.exception()  # its caller may have disconnected

    async def _replay(
        self, caller: Caller, request: ReplayLetters, chosen: LetterFilter
    ) -> ReplayAnswer:
        async with self._lookup.open(caller, self._parts.settings.replay_timeout_s) as connections:
            meant = await self._meant(connections, caller, request, chosen)
            whole = await with_values(
                connections.reader,
                [known.letter for known in meant.known_letters],
                connections.topics,
            )
            counts = {"expired": len(meant.known_letters) - len(whole)}
            order = ReplayOrder(
                replay_id=new_id(),
                actor=caller.actor,
                reason=request.reason,
                force=request.force,
            )
            others = [known.letter for known in meant.others]
            all_letters = KnownLetters([*whole, *others], connections.log.ledger)
            chosen, among = replace(chosen, ids=request.ids), {letter.id for letter in whole}
            await connections.log.catch_up()
            if not (request.dry_run or caller.operator):
                sent = _of(all_letters, chosen, among)
                creates = created_tasks(sent, order, connections.topics, self._parts.clock())
                self._parts.tenants.check_creates(caller.tenant_id, creates)
            if request.dry_run:
                outcome, done = _tried(connections, all_letters, order, chosen, among)
            else:
                outcome, done = await _done(connections, all_letters, order, chosen, among)
        counts.update(done)
        return ReplayAnswer(
            replay_id=order.replay_id,
            outcome=outcome,
            counts={name: count for name, count in counts.items() if count},
            next_page_token=meant.next_page_token,
        )

    async def _meant(
        self,
        connections: LetterConnections,
        caller: Caller,
        request: ReplayLetters,
        chosen: LetterFilter,
    ) -> Meant:
        if request.ids:
            return await self._named(connections, caller, request.ids, chosen)
        until_ms, after = _place(request.page_token, self._parts.clock())
        limit = request.page_size
        which = replace(
            chosen,
            status=(LetterStatus.OPEN.value,),
            until_ms=min(until_ms, until_ms if chosen.until_ms is None else chosen.until_ms),
        )
        try:
            found = await self._parts.projection.ask(
                lambda reader: letter_pages.oldest(reader, which, limit=limit + 1, after=after)
            )
        except SinkUnavailableError:
            found = _behind(await self._lookup.scanned(connections, which), after)[: limit + 1]
        known_letters = found[:limit]
        others = await self._lookup.by_ids(
            connections, caller, [known.letter.id for known in known_letters]
        )
        more = f"{until_ms}.{LetterCursor.of(known_letters[-1])}" if len(found) > limit else None
        return Meant(known_letters, _besides(others, known_letters), more)

    async def _named(
        self,
        connections: LetterConnections,
        caller: Caller,
        ids: Sequence[str],
        chosen: LetterFilter,
    ) -> Meant:
        found = await self._lookup.by_ids(connections, caller, ids)
        known = {known.letter.id for known in found}
        for letter_id in ids:
            if letter_id not in known:
                raise letter_unknown(letter_id, field="ids")
        wanted = frozenset(ids)
        known_letters = [
            known for known in found if known.letter.id in wanted and chosen.matches(known)
        ]
        return Meant(known_letters, _besides(found, known_letters))


def _tried(
    connections: LetterConnections,
    all_letters: KnownLetters,
    order: ReplayOrder,
    chosen: LetterFilter,
    among: set[str],
) -> tuple[str, dict[str, int]]:
    known_letters = _of(all_letters, chosen, among)
    return "dry_run", preview(known_letters, order, connections.topics)


def _of(all_letters: KnownLetters, chosen: LetterFilter, among: set[str]) -> list[KnownLetter]:
    return [c for c in all_letters.ordered() if c.letter.id in among and chosen.matches(c)]


async def _done(
    connections: LetterConnections,
    all_letters: KnownLetters,
    order: ReplayOrder,
    chosen: LetterFilter,
    among: set[str],
) -> tuple[str, dict[str, int]]:
    replayed = Replay(await replay_parts(connections), order, ReplayLimits())
    try:
        outcome = await replayed.run(all_letters, chosen, among=among)
    except (ReplayRunningError, ReplaySupersededError) as error:
        raise refused_replay(error) from None
    return outcome, dict(replayed.counts)


def refused_replay(error: ReplayRunningError | ReplaySupersededError) -> ApiError:
    """The refusal, without the actor of the other replay, who may be of another tenant."""
    why = "another replay runs: call again soon"
    if isinstance(error, ReplaySupersededError):
        why = "another replay took this one for dead, and went on: call again soon"
    return ApiError(error.code, why, kind=Kind.CONFLICT)


def _check(request: ReplayLetters) -> None:
    chosen = any(getattr(request, name) for name in LISTS) or request.since or request.until
    if not (request.ids or chosen or request.all):
        raise invalid("ids", "nothing chooses the letters: give ids, a filter, or all")
    if request.force and not request.ids:
        raise invalid("force", "needs ids")
    if request.ids and request.page_token:
        raise invalid("page_token", "ids are one page")
    if not request.dry_run:
        check_reason(request.reason)


def _place(token: str, now: int) -> tuple[int, LetterCursor | None]:
    """The end of the time range of a replay, and the letter after which the page begins.

    The first call sets the end of the range: letters that its replays cause, or that come
    meanwhile, are left for a later replay, so that a last page exists.
    """
    if not token:
        return now + 1, None
    until, _, place = token.partition(".")
    if not (until.isascii() and until.isdecimal() and len(until) < 16):
        raise cursor_invalid()
    return int(until), cursor_of(place or "none")


def _behind(known_letters: Sequence[KnownLetter], after: LetterCursor | None) -> list[KnownLetter]:
    if after is None:
        return list(known_letters)
    place = (after.dead_lettered_at, after.id)
    return [
        known for known in known_letters if (known.letter.dead_lettered_at, known.letter.id) > place
    ]


def _besides(
    found: Sequence[KnownLetter], known_letters: Sequence[KnownLetter]
) -> list[KnownLetter]:
    ids = {known.letter.id for known in known_letters}
    return [known for known in found if known.letter.id not in ids]
