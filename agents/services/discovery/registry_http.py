"""Asks a registry over HTTP. What it answers is foreign: bounded, and never followed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import httpx
import msgspec

from agents.services.discovery.following import DiscoveryError
from agents.services.service_tls import ServiceTls
from agents.services.single_connection import single_connection
from streams.watched_file import WatchedFile

CONNECT_TIMEOUT_S = 5.0
BODY_MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RegistryAnswer:
    """A 200 of a registry."""

    headers: httpx.Headers
    body: bytes


class RegistryHttp:
    """One connection for each request: an answer belongs to its request, whatever is sent.

    Args:
        url: of the registry, without a slash at the end.
        token: the file of a token; read again when it changes.
        token_header: the header that carries it, in lower case.
        tls: for ``https://``.
    """

    def __init__(
        self,
        url: str,
        *,
        token: WatchedFile[str] | None = None,
        token_header: str = "",
        tls: ServiceTls | None = None,
    ) -> None:
        self._url = url
        self._token = token
        self._token_header = token_header
        self._tls = tls

    async def get(self, path: str, query: Mapping[str, str]) -> RegistryAnswer:
        """Ask; as :meth:`send`."""
        return await self.send("GET", path, query)

    async def send(
        self, method: str, path: str, query: Mapping[str, str], body: object = None
    ) -> RegistryAnswer:
        """Ask, or tell; the caller limits the time.

        Args:
            method: of HTTP.
            path: with its slash, below the registry's URL.
            query: names and values.
            body: sent as JSON; None: no body.

        Raises:
            DiscoveryError: there was no answer, or not a 200, or it was too long.
        """
        headers = {"accept": "application/json", "accept-encoding": "identity"}
        if self._token is not None:
            word = "Bearer " if self._token_header == "authorization" else ""
            headers[self._token_header] = word + self._token.value()
        try:
            async with (
                single_connection(
                    self._tls, httpx.Timeout(None, connect=CONNECT_TIMEOUT_S)
                ) as http,
                http.stream(
                    method,
                    self._url + path,
                    params=query,
                    headers=headers,
                    content=None if body is None else msgspec.json.encode(body),
                ) as answer,
            ):
                if answer.status_code != httpx.codes.OK:
                    raise DiscoveryError(f"the registry answers with HTTP {answer.status_code}")
                return RegistryAnswer(answer.headers, await _body(answer))
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            reason = type(error).__name__
            raise DiscoveryError(f"the registry gives no answer ({reason})") from None


async def _body(answer: httpx.Response) -> bytes:
    body = bytearray()
    async for part in answer.aiter_raw():
        body += part
        if len(body) > BODY_MAX_BYTES:
            raise DiscoveryError("the answer of the registry is too long")
    return bytes(body)
