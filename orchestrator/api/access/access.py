"""Identifies the caller of each call, and says whether the caller may make it."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, Literal, TypeVar

import structlog

from orchestrator.api.access.caller import ANY_TENANT, TENANT_HEADER, Caller
from orchestrator.api.access.key_ring import KeyRing, key_expired, key_revoked
from orchestrator.api.access.keys import key_hash
from orchestrator.api.access.lifetimes import Lifetimes, until_over
from orchestrator.api.access.oidc.tokens import Grant, Tokens, is_token
from orchestrator.api.access.refusal_log import RefusalLog
from orchestrator.api.access.rights import ALL_SCOPES, Need
from orchestrator.api.errors import ApiError, Kind
from orchestrator.api.limits import REFUSED_AFTER_S
from orchestrator.api.limits.metrics import LIMITED
from orchestrator.api.limits.rates import Rates, calls_of
from schemas.limits import ID_PATTERN
from schemas.records import Millis
from streams.clock import now_ms

log = structlog.get_logger()

T = TypeVar("T")
Transport = Literal["grpc", "http"]

_USED_EVERY_S = 3_600.0
_USED_MAX = 10_000


class Access:
    """Who may call. Without keys and an issuer, everybody who calls is ``open_tenant``."""

    def __init__(
        self,
        ring: KeyRing,
        open_tenant: str,
        *,
        tokens: Tokens | None = None,
        rates: Rates | None = None,
        clock: Callable[[], Millis] = now_ms,
    ) -> None:
        self.lifetimes = Lifetimes(self.ended)
        self.refused = RefusalLog()
        self._ring = ring
        self._tokens = tokens
        self._rates = rates
        self._open_tenant = open_tenant
        self._clock = clock
        self._used: OrderedDict[str, float] = OrderedDict()

    async def admit(
        self,
        given: str | None,
        need: Need,
        *,
        transport: Transport,
        tenant: str | None = None,
        body_bytes: int = 0,
    ) -> Caller:
        """The caller of a call, who may make it.

        Args:
            given: ``Bearer <key>``, or the key alone; a token of the issuer in its place.
            need: what the call needs; it is not looked at before the caller is known.
            transport: for the audit trail.
            tenant: the tenant that the call names (:data:`TENANT_HEADER`).
            body_bytes: the size of the call's body, as far as it is known.

        Raises:
            ApiError: as :meth:`caller` and :meth:`Caller.check`; RATE_LIMITED: the key makes too
                many calls. It was logged.
        """
        known = ""
        try:
            caller = await self.caller(given, transport=transport, tenant=tenant)
            known = caller.key_id
            await self._check_rate(caller, calls_of(body_bytes))
            caller.check(need)
        except ApiError as error:
            self.refused.note(error, transport=transport, key=known)
            raise
        return caller

    async def admit_message(self, caller: Caller, *, transport: Transport) -> None:
        """Count a message on an open connection as a call of its caller.

        Raises:
            ApiError: KEY_REVOKED, KEY_EXPIRED: the caller's right has ended; RATE_LIMITED. It was
                logged.
        """
        try:
            if (ended := self.ended(caller)) is not None:
                raise ended
            await self._check_rate(caller, 1)
        except ApiError as error:
            self.refused.note(error, transport=transport, key=caller.key_id)
            raise

    def count_body(self, caller: Caller, body_bytes: int) -> None:
        """Count a body whose size was not known when its call was admitted."""
        if self._rates is not None and caller.key_id:
            self._rates.add(caller.key_id, time.monotonic(), calls_of(body_bytes) - 1)

    async def _check_rate(self, caller: Caller, calls: int) -> None:
        """Count a call of a key; RATE_LIMITED if there are too many, after a moment."""
        if self._rates is None or not caller.key_id:
            return
        if (wait_s := self._rates.take(caller.key_id, time.monotonic(), calls)) > 0:
            LIMITED.labels("requests_per_s").inc()
            await asyncio.sleep(min(wait_s, REFUSED_AFTER_S))
            message = "this key makes too many calls in a second"
            raise ApiError("RATE_LIMITED", message, kind=Kind.LIMITED, retry_after_s=wait_s)

    async def caller(
        self, given: str | None, *, transport: Transport, tenant: str | None = None
    ) -> Caller:
        """The caller of a call, whatever it wants.

        Raises:
            ApiError: UNAUTHENTICATED, KEY_REVOKED, KEY_EXPIRED; UNAVAILABLE: a token's issuer does
                not answer; TENANT_DENIED: the key is not of the tenant that the call names;
                ID_INVALID.
        """
        if not self._ring and self._tokens is None:
            of = _tenant_of(self._open_tenant, tenant)
            return Caller(of, f"api/{transport}", scopes=ALL_SCOPES)
        secret = _secret(given)
        try:
            key = self._ring.valid(key_hash(secret))
        except ApiError as error:
            if self._tokens is None or error.code != "UNAUTHENTICATED" or not is_token(secret):
                raise
            grant = await self._tokens.grant(secret)
            return self._of_token(grant, transport, tenant)
        self._note_use(key.id, key.tenant)
        return Caller(
            _tenant_of(key.tenant, tenant),
            f"api/{transport}/{key.id}",
            scopes=key.scopes,
            key_id=key.id,
            key_hash=key.hash,
            expires_at=key.expires_at,
        )

    def ended(self, caller: Caller) -> ApiError | None:
        """The reason why a caller's streams must end now; None: they may go on."""
        if caller.expires_at is not None and caller.expires_at <= self._clock():
            return key_expired()
        if not caller.key_hash:
            return None
        try:
            key = self._ring.valid(caller.key_hash)
        except ApiError as error:
            return error if error.code == "KEY_EXPIRED" else key_revoked()
        same = key.scopes >= caller.scopes and key.tenant in (caller.tenant_id, ANY_TENANT)
        return None if same else key_revoked()

    async def while_allowed(self, caller: Caller, items: AsyncGenerator[T]) -> AsyncGenerator[T]:
        """Yield the items of a caller's stream while the caller may see them; close it at the end.

        Raises:
            ApiError: KEY_REVOKED, KEY_EXPIRED; within some seconds after it happened.
        """
        async with aclosing(items):
            if not caller.key_id:
                async for item in items:
                    yield item
                return
            with self.lifetimes.watch(caller) as over:
                async with aclosing(until_over(items, over)) as allowed:
                    async for item in allowed:
                        yield item

    async def while_valid(self, caller: Caller, work: Coroutine[Any, Any, T]) -> T:
        """The result of a long wait of a caller.

        Raises:
            ApiError: as :meth:`while_allowed`; the wait was cancelled.
        """
        if not caller.key_id:
            return await work
        waiting = asyncio.ensure_future(work)
        try:
            with self.lifetimes.watch(caller) as over:
                await asyncio.wait((waiting, over), return_when=asyncio.FIRST_COMPLETED)
                if over.done() and not waiting.done():
                    raise over.result()
            return await waiting
        finally:
            waiting.cancel()

    def _of_token(self, grant: Grant, transport: Transport, tenant: str | None) -> Caller:
        self._note_use(grant.key_id, grant.tenant)
        return Caller(
            _tenant_of(grant.tenant, tenant),
            f"api/{transport}/{grant.key_id}",
            scopes=grant.scopes,
            key_id=grant.key_id,
            expires_at=grant.expires_at,
        )

    def _note_use(self, key_id: str, tenant: str) -> None:
        """Log that a key is used, at most once an hour for each key."""
        now = time.monotonic()
        if now - self._used.get(key_id, -_USED_EVERY_S) < _USED_EVERY_S:
            return
        self._used[key_id] = now
        self._used.move_to_end(key_id)
        while len(self._used) > _USED_MAX:
            self._used.popitem(last=False)
        log.info("key_used", key=key_id, tenant_id=tenant)


def _secret(given: str | None) -> str:
    """The key in a header; raises ``ApiError`` UNAUTHENTICATED if there is none."""
    scheme, _, rest = (given or "").partition(" ")
    secret = rest.strip() if scheme.lower() == "bearer" else (given or "")
    if not secret:
        message = "a key is needed: authorization: Bearer"
        raise ApiError("UNAUTHENTICATED", message, kind=Kind.UNAUTHENTICATED)
    return secret


def _tenant_of(granted: str, named: str | None) -> str:
    """The tenant that a call is about, given the one of its key and the one that it names."""
    if named is None or named == granted:
        return granted
    if granted != ANY_TENANT:
        message = f"{TENANT_HEADER}: the key is not of this tenant"
        raise ApiError("TENANT_DENIED", message, kind=Kind.DENIED)
    if not ID_PATTERN.fullmatch(named):
        raise ApiError("ID_INVALID", f"{TENANT_HEADER}: not {ID_PATTERN.pattern}")
    return named
