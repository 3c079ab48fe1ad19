"""The public keys of an issuer, kept in memory.

Sources: RFC 7517 (JWK); OpenID Connect Discovery 1.0, section 4.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt
import msgspec
import structlog
from cryptography.exceptions import UnsupportedAlgorithm

from orchestrator.api.access.browsers import is_this_machine
from orchestrator.api.access.oidc.config import OidcConfig, check_url
from orchestrator.api.errors import unavailable

log = structlog.get_logger()

_FETCH_S = 5.0
_DOCUMENT_MAX_BYTES = 256 * 1024
_KEYS_MAX = 100
_FRESH_S = 600.0
_DISCOVERY = "/.well-known/openid-configuration"
_PUBLIC = frozenset({"RSA", "EC", "OKP"})

Jwk = Mapping[str, Any]


class FetchError(Exception):
    """The issuer's documents could not be read; the message says why."""


_AWAY = (FetchError, httpx.HTTPError, httpx.InvalidURL, OSError, ValueError)
"""``OSError``: the time is over, or the environment names a file of certificates that cannot be
read."""


class IssuerKeys:
    """Fetches the keys when they are first needed, for an unknown key, and every ten minutes.

    Keys that were read stay valid while the issuer is away. A fetch takes five seconds at most,
    does not hold up calls whose key is known, and is not repeated before ``refetch_s``: whoever
    sends tokens with invented key ids cannot make this service flood the issuer.
    """

    def __init__(self, config: OidcConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._keys: dict[str, Jwk] = {}
        self._built: dict[tuple[str, str], jwt.PyJWK] = {}
        self._tried_at = -float("inf")
        self._read_at = -float("inf")
        self._fetching: asyncio.Task[bool] | None = None
        self._away = False

    async def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """The key of a token; None if the issuer has no such key for this algorithm.

        Args:
            kid: the id of the key; None if the token names none, and the issuer has only one.
            algorithm: the one that the token was signed with; it was checked before.

        Raises:
            ApiError: UNAVAILABLE; the key is not known, and the issuer cannot be asked now.
        """
        name = self._name(kid)
        if name is None:
            await self._refresh()
            name = self._name(kid)
        elif self._clock() - self._read_at > _FRESH_S:
            self._start()
        if name is None:
            if self._away:
                raise unavailable("the issuer of the token does not answer")
            return None
        return self._key(name, algorithm)

    async def close(self) -> None:
        """Stop a fetch that runs."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    def _name(self, kid: str | None) -> str | None:
        if kid is None:
            return next(iter(self._keys)) if len(self._keys) == 1 else None
        return kid if kid in self._keys else None

    def _key(self, name: str, algorithm: str) -> jwt.PyJWK | None:
        found = self._built.get((name, algorithm))
        if found is not None:
            return found
        data = self._keys[name]
        if data.get("alg", algorithm) != algorithm:
            return None
        try:
            found = jwt.PyJWK(dict(data), algorithm)
        except (jwt.PyJWTError, UnsupportedAlgorithm, TypeError, ValueError):
            return None  # of another type than the algorithm's, or of a curve unknown here
        self._built[name, algorithm] = found
        return found

    async def _refresh(self) -> None:
        self._start()
        if self._fetching is not None:
            # A caller that gives up does not stop the fetch, for which others wait.
            await asyncio.shield(self._fetching)

    def _start(self) -> None:
        running = self._fetching is not None and not self._fetching.done()
        if not running and self._clock() - self._tried_at >= self._config.refetch_s:
            self._tried_at = self._clock()
            self._fetching = asyncio.create_task(self._fetch())

    async def _fetch(self) -> bool:
        try:
            async with asyncio.timeout(_FETCH_S):
                keys = await _read_keys(self._config)
        except _AWAY as error:
            self._away = True
            reason = str(error) if isinstance(error, FetchError) else type(error).__name__
            log.warning("issuer_keys_not_read", issuer=self._config.issuer, reason=reason)
            return False
        self._keys, self._built, self._away = keys, {}, False
        self._read_at = self._clock()
        log.info("issuer_keys_read", issuer=self._config.issuer, keys=len(keys))
        return True


async def _read_keys(config: OidcConfig) -> dict[str, Jwk]:
    url = config.jwks_url
    if not url:
        described = await _read(config.issuer.rstrip("/") + _DISCOVERY)
        if described.get("issuer") != config.issuer:
            raise FetchError("the discovery document is of another issuer")
        found = described.get("jwks_uri")
        if not isinstance(found, str):
            raise FetchError("the discovery document has no jwks_uri")
        try:
            url = check_url(found, "jwks_uri")
        except ValueError as error:
            raise FetchError(str(error)) from None
    document = await _read(url)
    listed = document.get("keys")
    if not isinstance(listed, list) or len(listed) > _KEYS_MAX:
        raise FetchError(f"no list of at most {_KEYS_MAX} keys")
    keys: dict[str, Jwk] = {}
    for number, data in enumerate(listed):
        if (
            isinstance(data, dict)
            and data.get("kty") in _PUBLIC
            and data.get("use") in (None, "sig")
        ):
            kid = data.get("kid", f"#{number}")
            if isinstance(kid, str):
                keys.setdefault(kid, data)
    return keys


async def _read(url: str) -> dict[str, Any]:
    # Proxies of the environment are for what is far away.
    far = not is_this_machine(urlsplit(url).hostname or "")
    async with (
        httpx.AsyncClient(timeout=_FETCH_S, follow_redirects=False, trust_env=far) as client,
        client.stream("GET", url, headers={"Accept": "application/json"}) as response,
    ):
        if response.status_code != httpx.codes.OK:
            raise FetchError(f"HTTP status {response.status_code}")
        body = bytearray()
        async for part in response.aiter_bytes():
            body += part
            if len(body) > _DOCUMENT_MAX_BYTES:
                raise FetchError(f"a document of more than {_DOCUMENT_MAX_BYTES} bytes")
    try:
        document = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError):
        raise FetchError("a document that is not a JSON object") from None
    return document
