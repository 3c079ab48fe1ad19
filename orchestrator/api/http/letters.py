"""The paths under ``/api/v1/dead-letters``: a thin adapter from HTTP to the use cases."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from orchestrator.api.access.caller import Caller
from orchestrator.api.http.body import read_query
from orchestrator.api.http.calls import Calls, json_response
from orchestrator.api.letters.requests import (
    LISTS,
    CountLetters,
    DiscardLetter,
    EditLetter,
    ListLetters,
    ReplayLetters,
)

LETTERS = "/api/v1/dead-letters"


class LetterHandlers(Calls):
    """One method for each operation about dead letters of ``contract.py``."""

    async def list_letters(self, caller: Caller, request: Request) -> Response:
        """A page of letters."""
        wanted = read_query(request, ListLetters, lists=LISTS | {"status"})
        return json_response(await self._use.letters.list_letters(caller, wanted))

    async def letter_stats(self, caller: Caller, request: Request) -> Response:
        """Counts of letters."""
        wanted = read_query(request, CountLetters, lists=LISTS | {"status", "by"})
        return json_response(await self._use.letters.stats(caller, wanted))

    async def get_letter(self, caller: Caller, request: Request) -> Response:
        """A letter with its contents."""
        return json_response(await self._use.letters.get(caller, _id(request)))

    async def replay_letters(self, caller: Caller, request: Request) -> Response:
        """Send letters back, or report what would be sent."""
        wanted = await self._body(request, ReplayLetters)
        return json_response(await self._use.letter_replay.replay(caller, wanted))

    async def edit_letter(self, caller: Caller, request: Request) -> Response:
        """Change what a replay will send."""
        wanted = await self._body(request, EditLetter)
        return json_response(await self._use.letter_actions.edit(caller, _id(request), wanted))

    async def discard_letter(self, caller: Caller, request: Request) -> Response:
        """Give a letter up."""
        wanted = await self._body(request, DiscardLetter)
        acting = self._use.letter_actions
        return json_response(await acting.discard(caller, _id(request), wanted))


def _id(request: Request) -> str:
    return str(request.path_params["letter_id"])
