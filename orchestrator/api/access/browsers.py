"""What a web page in a browser of this machine must not do. Pure.

A page of a stranger can send requests to a service on the same machine, with any path and body. A
browser names the page in ``Origin``, and the host that the page believes to call in ``Host``: after
DNS rebinding, that is the name of the stranger's host. No page can change either header.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.api.errors import ApiError, Kind

ANY = "*"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITES = frozenset({"", "same-origin", "none"})


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserRules:
    """Which hosts a request may name, and which pages may send one."""

    open: bool
    """True if the service has no keys: being on this machine is all that a caller needs, so every
    request is checked. With keys, a page needs one, and only WebSockets are checked."""

    hosts: frozenset[str] = frozenset()
    """Names beside those of this machine, in lower case, with or without a port."""

    origins: frozenset[str] = frozenset()
    """Origins beside the service's own, in lower case, such as ``https://console.example.com``;
    ``*``: all."""

    def refusal(
        self, method: str | None, hosts: list[str], headers: Mapping[str, str]
    ) -> ApiError | None:
        """The reason to refuse a request; None: it may go on.

        Args:
            method: of the request; None: the handshake of a WebSocket.
            hosts: every ``Host`` header.
            headers: the others, with names in lower case.
        """
        if self.open and not (len(hosts) == 1 and self._is_ours(hosts[0].lower())):
            message = "host: neither this machine nor one of ORCH_API_ALLOWED_HOSTS"
            return ApiError("HOST_REFUSED", message, kind=Kind.DENIED)
        if method is None or (self.open and method not in _SAFE_METHODS):
            host = hosts[0].lower() if hosts else ""
            if not self._may_act(host, headers):
                message = "origin: a page of another origin, and not of ORCH_API_ALLOWED_ORIGINS"
                return ApiError("ORIGIN_REFUSED", message, kind=Kind.DENIED)
        return None

    def _is_ours(self, host: str) -> bool:
        name = _without_port(host)
        return is_this_machine(name) or name in self.hosts or host in self.hosts

    def _may_act(self, host: str, headers: Mapping[str, str]) -> bool:
        origin = headers.get("origin", "").lower()
        if ANY in self.origins or origin in self.origins:
            return True
        if origin:
            return origin.partition("://")[2] == host
        # Programs send neither header; browsers send one of them.
        return headers.get("sec-fetch-site", "").lower() in _OWN_SITES


def is_this_machine(host: str) -> bool:
    """True for ``localhost`` and for a loopback address, which no DNS record can take over."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def listed(text: str) -> frozenset[str]:
    """The parts of a setting, which commas separate, in lower case."""
    return frozenset(part.strip().lower() for part in text.split(",") if part.strip())


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() and (":" not in name or name[-1] == "]") else host
