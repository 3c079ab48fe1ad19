"""Use cases that change dead letters: edit and discard."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
from msgspec import Raw

from orchestrator.api.access.caller import Caller
from orchestrator.api.errors import ApiError, invalid
from orchestrator.api.letters.lookup import LetterLookup, owned
from orchestrator.api.letters.requests import DiscardLetter, EditLetter
from orchestrator.api.letters.views import EditAnswer, LetterView, letter_view
from orchestrator.api.replica.parts import Parts
from orchestrator.letters.connections import LetterConnections
from schemas.codec import decode
from schemas.records import DeadLetterAction
from streams.letters.action_log import author
from tasks.letters.discard import can_be_discarded, discarded
from tasks.letters.edit import Edit, an_edit
from tasks.letters.edited_value import (
    EditRefusedError,
    an_object,
    record_type_of,
    with_changes,
)
from tasks.letters.known import KnownLetter
from tasks.letters.ledger import after


class LetterActions:
    """Appends a caller's actions on letters of its tenant to the ledger.

    Every method raises ``ApiError``: NOT_FOUND; UNAVAILABLE: the action may have been taken, and
    repeating it does no harm.
    """

    def __init__(self, parts: Parts, lookup: LetterLookup) -> None:
        self._parts = parts
        self._lookup = lookup

    async def edit(self, caller: Caller, letter_id: str, request: EditLetter) -> EditAnswer:
        """Change the value that a replay will send.

        Raises:
            ApiError: EDIT_REFUSED if it fits no schema; PRIORITY_DENIED if it asks for a higher
                priority than the tenant may.
        """
        check_reason(request.reason)
        if _whole(request) is None and not request.changes:
            raise invalid("changes", "neither changes nor a value are given")
        async with self._lookup.letter(caller, letter_id) as (connections, found):
            if found.whole is None:
                raise _refused("its topic holds the record no longer")
            made = self._edit(caller, found.known, request)
            action = made.action(author(actor=caller.actor, reason=request.reason))
            known = await self._append(connections, found.known, action)
        return EditAnswer(
            dead_letter=letter_view(known),
            value=Raw(msgspec.json.encode(made.wanted)),
            sha256_before=made.sha256_before,
            sha256_after=made.sha256_after,
        )

    async def discard(self, caller: Caller, letter_id: str, request: DiscardLetter) -> LetterView:
        """Give a letter up; a settled letter stays as it is."""
        check_reason(request.reason)
        async with self._lookup.letter(caller, letter_id) as (connections, found):
            if not can_be_discarded(found.known):
                return letter_view(found.known)
            chosen = replace(owned(caller), ids=(letter_id,))
            by = author(actor=caller.actor, reason=request.reason)
            [action] = discarded([found.known], chosen, by)
            return letter_view(await self._append(connections, found.known, action))

    def _edit(self, caller: Caller, known: KnownLetter, request: EditLetter) -> Edit:
        topics = self._parts.topics
        if not caller.operator and known.letter.topic not in (
            topics.task_created,
            topics.task_commands,
        ):
            raise _refused("what the system itself wrote is edited by its operator only")

        def change(fields: dict[str, Any]) -> dict[str, Any]:
            given = _whole(request)
            whole = fields if given is None else an_object(given)
            wanted = with_changes(whole, request.changes)
            if not caller.operator:
                _check_owner(caller, fields, wanted)
            return wanted

        max_bytes = self._parts.system.limits.record_max_bytes
        try:
            made = an_edit(known, change, topics, max_bytes=max_bytes)
        except EditRefusedError as error:
            raise _refused(str(error)) from None
        if not caller.operator:
            self._check_priority(caller, known, made)
        return made

    def _check_priority(self, caller: Caller, known: KnownLetter, made: Edit) -> None:
        """Make sure that an edit asks for no priority that the tenant may not ask for itself."""
        record = decode(made.value, record_type_of(known.letter, self._parts.topics))
        wanted = getattr(record, "priority", None)
        if wanted != made.fields.get("priority"):
            self._parts.tenants.check_priority(caller.tenant_id, wanted)

    async def _append(
        self, connections: LetterConnections, known: KnownLetter, action: DeadLetterAction
    ) -> KnownLetter:
        await connections.publisher()
        await connections.log.append([action])
        return KnownLetter(known.letter, after(known.state, action, action.items[0]))


def _whole(request: EditLetter) -> str | None:
    text = bytes(request.value).decode().strip()
    return None if text == "null" else text


def check_reason(reason: str) -> None:
    """Raise ``ApiError`` for an empty reason: every action needs one."""
    if not reason.strip():
        raise invalid("reason", "say why")


def _check_owner(caller: Caller, fields: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Make sure that an edited record keeps its tenant, its task, its author and its time.

    It bypasses admission, which derives these from the key and the clock. An operator may
    change them, as on the command line.
    """
    if wanted.get("tenant_id") != caller.tenant_id:
        raise EditRefusedError("tenant_id must be the caller's")
    for name in ("task_id", "actor", "created_at", "issued_at"):
        if wanted.get(name) != fields.get(name):
            raise EditRefusedError(f"{name} must stay what it is")


def _refused(why: str) -> ApiError:
    return ApiError("EDIT_REFUSED", why)
