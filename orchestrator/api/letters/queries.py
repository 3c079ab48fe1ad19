"""Use cases that read dead letters: list, one letter, counts."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.api.access.caller import Caller
from orchestrator.api.errors import ApiError, invalid, unavailable
from orchestrator.api.letters.lookup import LetterLookup, owned
from orchestrator.api.letters.requests import CountLetters, ListLetters
from orchestrator.api.letters.views import (
    LetterDetail,
    LetterHistogram,
    LetterPage,
    LetterStats,
    action_view,
    contents_view,
    happening_view,
    histogram_view,
    letter_view,
)
from orchestrator.api.replica.parts import Parts
from orchestrator.api.tasks.sources import timeline
from orchestrator.letters.connections import LetterConnections
from sinks.errors import CursorError, SinkUnavailableError
from sinks.letters import pages as letter_pages
from sinks.letters.pages import LetterCursor
from streams.history.task_log import TaskLog
from tasks.letters.contents import related_letters
from tasks.letters.filter import LetterFilter
from tasks.letters.known import KnownLetter
from tasks.letters.ledger import LetterStatus

_BY = ("topic", "code", "step", "service", "status", "hour")
_BY_DEFAULT = ("code", "step", "service", "hour")
_RELATED_MAX = 100


class LetterQueries:
    """Shows letters of a caller's tenant."""

    def __init__(self, parts: Parts, lookup: LetterLookup) -> None:
        self._parts = parts
        self._lookup = lookup

    async def list_letters(self, caller: Caller, request: ListLetters) -> LetterPage:
        """A page of letters, from the index, newest first.

        Raises:
            ApiError: FIELD_INVALID, CURSOR_INVALID, UNAVAILABLE.
        """
        which = self._lookup.filter_of(caller, request, status=_statuses(request.status))
        after, limit = cursor_of(request.page_token), request.page_size
        try:
            async with self._parts.tenants.reads.of(caller.tenant_id):
                known_letters = await self._parts.projection.ask(
                    lambda reader: letter_pages.newest(reader, which, limit=limit + 1, after=after)
                )
        except SinkUnavailableError as error:
            raise unavailable("Postgres does not answer") from error
        more = (
            str(LetterCursor.of(known_letters[limit - 1])) if len(known_letters) > limit else None
        )
        return LetterPage(
            dead_letters=[letter_view(known) for known in known_letters[:limit]],
            next_page_token=more,
        )

    async def stats(self, caller: Caller, request: CountLetters) -> LetterStats:
        """Counts of letters, from the index; raises as :meth:`list_letters`."""
        fields = list(dict.fromkeys(request.by)) or list(_BY_DEFAULT)
        if not set(fields) <= set(_BY):
            raise invalid("by", f"any of {', '.join(_BY)}")
        which = self._lookup.filter_of(caller, request, status=_statuses(request.status))
        async with self._parts.tenants.reads.of(caller.tenant_id):
            return LetterStats(histograms=[await self._histogram(which, by) for by in fields])

    async def get(self, caller: Caller, letter_id: str) -> LetterDetail:
        """A letter with its contents.

        Raises:
            ApiError: NOT_FOUND, also for a letter of another tenant; UNAVAILABLE.
        """
        async with self._lookup.letter(caller, letter_id) as (connections, found):
            related = await self._related(connections, caller, found.known)
            log = TaskLog(connections.reader, connections.topics)
            task = await timeline(log, found.known.letter.task_id, self._parts.projection.logs)
        return LetterDetail(
            dead_letter=letter_view(found.known),
            contents=contents_view(found.whole, self._parts.topics, stacktrace=caller.operator),
            history=[action_view(action) for action in found.history],
            related=[letter_view(known) for known in related],
            # A letter may name a task of another tenant.
            task_timeline=list(map(happening_view, task.events))
            if caller.sees(task.tenant_id)
            else [],
        )

    async def _histogram(self, which: LetterFilter, by: str) -> LetterHistogram:
        try:
            bars = await self._parts.projection.ask(
                lambda reader: letter_pages.count(reader, which, by)
            )
        except SinkUnavailableError as error:
            raise unavailable("Postgres does not answer") from error
        return histogram_view(by, bars)

    async def _related(
        self, connections: LetterConnections, caller: Caller, known: KnownLetter
    ) -> list[KnownLetter]:
        which, letter_id = owned(caller), known.letter.id
        try:
            return await self._parts.projection.ask(
                lambda reader: letter_pages.related(reader, which, letter_id, limit=_RELATED_MAX)
            )
        except SinkUnavailableError:
            found = related_letters(await self._lookup.scanned(connections, which), known.letter)
            return found[: -_RELATED_MAX - 1 : -1]


def cursor_of(token: str) -> LetterCursor | None:
    """The position at which a page begins; raises ``ApiError`` CURSOR_INVALID."""
    try:
        return LetterCursor.parse(token) if token else None
    except CursorError:
        raise cursor_invalid() from None


def cursor_invalid() -> ApiError:
    """The error for a page token that does not belong to this list."""
    return ApiError(CursorError.code, "page_token: not of this list", field="page_token")


def _statuses(given: Sequence[str]) -> Sequence[str]:
    known = [status.value for status in LetterStatus]
    if not set(given) <= set(known):
        raise invalid("status", f"any of {', '.join(known)}")
    return given
