"""Looks for the endpoints of a service again and again, and keeps the last good list."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

import structlog

from agents.services.discovery.endpoint import ENDPOINTS_MAX, Endpoint
from streams import metrics

log = structlog.get_logger()

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 15.0


class DiscoveryError(Exception):
    """There is no usable list now. The message is ours: it quotes nothing foreign."""


class EndpointLookup(Protocol):
    """One way to find the endpoints of one service."""

    kind: str
    """For the log: ``dns``, ``consul``, ``nacos``."""
    timeout_s: float
    """A look takes no longer."""
    pause_s: float
    """Seconds between the end of a good look and the next one."""

    async def look(self) -> Sequence[Endpoint]:
        """The endpoints now; may wait until they change.

        Raises:
            DiscoveryError: there is no list, or it cannot be read.
        """
        ...


class FollowedEndpoints:
    """An :class:`~agents.services.discovery.endpoint.EndpointSource` over look-ups.

    Args:
        lookup: for one service.
        service: its name, for the log and the metric.
        chance: draws from [0, 1): processes do not look together.
    """

    def __init__(
        self,
        lookup: EndpointLookup,
        *,
        service: str,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._lookup = lookup
        self._service = service
        self._chance = chance
        self._failures = 0

    async def watch(self) -> AsyncIterator[tuple[Endpoint, ...]]:
        """Each good list that differs from the one before. Does not end, and does not fail."""
        last: tuple[Endpoint, ...] = ()
        while True:
            try:
                async with asyncio.timeout(self._lookup.timeout_s):
                    found = accepted(await self._lookup.look())
            except Exception as error:  # what a registry answers may break any library
                self._failed(error, known=len(last))
                await asyncio.sleep(pause_after(self._failures, self._chance()))
                continue
            self._succeeded()
            if found != last:
                last = found
                yield found
            await asyncio.sleep(self._lookup.pause_s * (0.9 + 0.2 * self._chance()))

    def _failed(self, error: Exception, *, known: int) -> None:
        self._failures += 1
        metrics.DISCOVERY_FAILURES.labels(self._service).inc()
        if self._failures == 1:
            # Another kind of error may quote what the registry sent.
            reason = str(error) if isinstance(error, DiscoveryError) else type(error).__name__
            log.warning(
                "discovery_failed",
                service=self._service,
                source=self._lookup.kind,
                reason=reason,
                kept_endpoints=known,
            )

    def _succeeded(self) -> None:
        if self._failures:
            log.info(
                "discovery_works_again",
                service=self._service,
                source=self._lookup.kind,
                failures=self._failures,
            )
        self._failures = 0


def accepted(found: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """A list that may be used, in order and without copies.

    Raises:
        DiscoveryError: it is empty, which more likely is the registry's fault than the wish to
            have no instance; or it has more than ``ENDPOINTS_MAX``.
    """
    endpoints = tuple(sorted(set(found), key=lambda one: (one.host, one.port)))
    if not endpoints:
        raise DiscoveryError("the list is empty")
    if len(endpoints) > ENDPOINTS_MAX:
        raise DiscoveryError(f"the list has more than {ENDPOINTS_MAX} endpoints")
    return endpoints


def pause_after(failures: int, chance: float) -> float:
    """Seconds until the next look after so many failed ones in a row.

    Args:
        failures: 1 or more.
        chance: a draw from [0, 1); up to a fifth is added.
    """
    pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(failures - 1, 10))
    return pause_s * (1 + chance / 5)
