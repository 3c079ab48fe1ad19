"""The use case that sends dead letters back, a bounded number in a call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.api.access import Caller
from orchestrator.api.errors import ApiError, Kind, invalid
from orchestrator.api.letters.acting import check_reason
from orchestrator.api.letters.desk import LetterDesk, letter_unknown
from orchestrator.api.letters.reading import cursor_invalid, cursor_of
from orchestrator.api.letters.requests import LISTS, ReplayLetters
from orchestrator.api.letters.views import ReplayAnswer
from orchestrator.api.replica.parts import Parts
from orchestrator.letters.replaying import replay_parts
from orchestrator.letters.workplace import Workplace
from sinks.errors import SinkUnavailableError
from sinks.letters import pages as letter_pages
from sinks.letters.pages import LetterCursor
from streams.letters.action_log import new_id
from streams.letters.errors import ReplayRunningError, ReplaySupersededError
from streams.letters.replay import Replay, ReplayLimits, preview
from streams.letters.scan import with_values
from tasks.letters.bench import Bench, Case
from tasks.letters.filter import LetterFilter
from tasks.letters.ledger import LetterStatus
from tasks.letters.plan import ReplayOrder


@dataclass(frozen=True, slots=True)
class Meant:
    """The letters of one call."""

    cases: Sequence[Case]
    """Without values."""
    others: Sequence[Case]
    """Letters from which the counts of replays go on."""
    next_page_token: str | None = None


class LetterReplaying:
    """Replays letters of a caller's tenant, as ``orchestrator dlq replay`` does."""

    def __init__(self, parts: Parts, desk: LetterDesk) -> None:
        self._parts = parts
        self._desk = desk
        self._running: set[asyncio.Task[ReplayAnswer]] = set()

    async def replay(self, caller: Caller, request: ReplayLetters) -> ReplayAnswer:
        """Send letters back, or say what would be sent.

        A caller that leaves stops nothing: what was begun is finished.

        Raises:
            ApiError: LETTER_UNKNOWN for an id that is not the tenant's, REPLAY_RUNNING,
                REPLAY_SUPERSEDED; UNAVAILABLE: some may have been sent. Call again with the
                same words: what was sent is not sent twice.
        """
        _check(request)
        chosen = self._desk.filter_of(caller, request)
        running = asyncio.create_task(self._replay(caller, request, chosen))
        self._running.add(running)
        running.add_done_callback(self._ended)
        return await asyncio.shield(running)

    @property
    def running(self) -> int:
        """How many replays run in this process."""
        return len(self._running)

    async def close(self) -> None:
        """Stop what runs, as a kill would: the next replay finds out what was sent."""
        stopped = list(self._running)
        for running in stopped:
            running.cancel()
        await asyncio.gather(*stopped, return_exceptions=True)

    def _ended(self, running: asyncio.Task[ReplayAnswer]) -> None:
        self._running.discard(running)
        if not running.cancelled():
            running.exception()  # its caller may have left

    async def _replay(
        self, caller: Caller, request: ReplayLetters, chosen: LetterFilter
    ) -> ReplayAnswer:
        async with self._desk.place(self._parts.settings.replay_timeout_s) as place:
            meant = await self._meant(place, caller, request, chosen)
            whole = await with_values(
                place.reader, [case.letter for case in meant.cases], place.topics
            )
            counts = {"expired": len(meant.cases) - len(whole)}
            order = ReplayOrder(
                replay_id=new_id(),
                actor=caller.actor,
                reason=request.reason,
                force=request.force,
            )
            others = [case.letter for case in meant.others]
            bench = Bench([*whole, *others], place.log.ledger)
            chosen, among = replace(chosen, ids=request.ids), {letter.id for letter in whole}
            if request.dry_run:
                outcome, done = await _tried(place, bench, order, chosen, among)
            else:
                outcome, done = await _done(place, bench, order, chosen, among)
        counts.update(done)
        return ReplayAnswer(
            replay_id=order.replay_id,
            outcome=outcome,
            counts={name: count for name, count in counts.items() if count},
            next_page_token=meant.next_page_token,
        )

    async def _meant(
        self, place: Workplace, caller: Caller, request: ReplayLetters, chosen: LetterFilter
    ) -> Meant:
        if request.ids:
            return await self._named(place, caller, request.ids, chosen)
        until_ms, after = _place(request.page_token, self._parts.clock())
        limit = request.page_size
        which = replace(
            chosen,
            status=(LetterStatus.OPEN.value,),
            until_ms=min(until_ms, until_ms if chosen.until_ms is None else chosen.until_ms),
        )
        try:
            found = await self._parts.history.ask(
                lambda reader: letter_pages.oldest(reader, which, limit=limit + 1, after=after)
            )
        except SinkUnavailableError:
            found = _behind(await self._desk.scanned(place, which), after)[: limit + 1]
        cases = found[:limit]
        others = await self._desk.cases(place, caller, [case.letter.id for case in cases])
        more = f"{until_ms}.{LetterCursor.of(cases[-1])}" if len(found) > limit else None
        return Meant(cases, _besides(others, cases), more)

    async def _named(
        self, place: Workplace, caller: Caller, ids: Sequence[str], chosen: LetterFilter
    ) -> Meant:
        found = await self._desk.cases(place, caller, ids)
        known = {case.letter.id for case in found}
        for letter_id in ids:
            if letter_id not in known:
                raise letter_unknown(letter_id, field="ids")
        wanted = frozenset(ids)
        cases = [case for case in found if case.letter.id in wanted and chosen.matches(case)]
        return Meant(cases, _besides(found, cases))


async def _tried(
    place: Workplace, bench: Bench, order: ReplayOrder, chosen: LetterFilter, among: set[str]
) -> tuple[str, dict[str, int]]:
    await place.log.catch_up()
    cases = [c for c in bench.cases() if c.letter.id in among and chosen.matches(c)]
    return "dry_run", preview(cases, order, place.topics)


async def _done(
    place: Workplace, bench: Bench, order: ReplayOrder, chosen: LetterFilter, among: set[str]
) -> tuple[str, dict[str, int]]:
    replayed = Replay(await replay_parts(place), order, ReplayLimits())
    try:
        outcome = await replayed.run(bench, chosen, among=among)
    except (ReplayRunningError, ReplaySupersededError) as error:
        raise refused_replay(error) from None
    return outcome, dict(replayed.counts)


def refused_replay(error: ReplayRunningError | ReplaySupersededError) -> ApiError:
    """The refusal, without a word of who replays: it may be another tenant."""
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
    """Until when letters are meant, and behind which one the page begins.

    The first call says until when: letters that come of its replays, or meanwhile, are left
    for another one, so that there is a last page.
    """
    if not token:
        return now + 1, None
    until, _, place = token.partition(".")
    if not (until.isascii() and until.isdecimal() and len(until) < 16):
        raise cursor_invalid()
    return int(until), cursor_of(place or "none")


def _behind(cases: Sequence[Case], after: LetterCursor | None) -> list[Case]:
    if after is None:
        return list(cases)
    place = (after.dead_lettered_at, after.id)
    return [case for case in cases if (case.letter.dead_lettered_at, case.letter.id) > place]


def _besides(found: Sequence[Case], cases: Sequence[Case]) -> list[Case]:
    known = {case.letter.id for case in cases}
    return [case for case in found if case.letter.id not in known]
