"""Endpoints from SRV records, which name hosts with their ports.

Source: RFC 2782.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import dns.asyncresolver
import dns.exception
import dns.name
import dns.resolver
from dns.rdtypes.IN.SRV import SRV

from agents.services.discovery.endpoint import Endpoint, usable
from agents.services.discovery.following import DiscoveryError

PAUSE_MIN_S = 1.0
"""Between two look-ups, also if an answer is good for less."""


class SrvLookup:
    """An :class:`~agents.services.discovery.following.EndpointLookup` by SRV records.

    Only the hosts of the lowest priority are used; the weights are not, because calls go to the
    less busy of two hosts. The addresses of a host are looked up when a connection is opened.

    Args:
        name: of the records, as ``_grpc._tcp.poet.internal``.
        every_s: the longest interval between two look-ups. It is shorter while an answer is good
            for less, and never below ``PAUSE_MIN_S``.
        resolve: asks for the records of a name; None: the servers in ``/etc/resolv.conf``.
    """

    kind = "srv"
    timeout_s = 10.0

    def __init__(
        self,
        name: str,
        *,
        every_s: float,
        resolve: Callable[[str], Awaitable[dns.resolver.Answer]] | None = None,
    ) -> None:
        self._name = name
        self._every_s = every_s
        self._resolve = resolve or _resolved
        self.pause_s = every_s

    async def look(self) -> Sequence[Endpoint]:
        """The hosts that are to be used now, each with its port."""
        try:
            answer = await self._resolve(self._name)
        except (dns.exception.DNSException, OSError) as error:
            raise DiscoveryError(f"the name has no records ({type(error).__name__})") from None
        self.pause_s = pause_after_answer(answer.ttl, self._every_s)
        return endpoints_of([one for one in answer if isinstance(one, SRV)])


def pause_after_answer(ttl_s: int, every_s: float) -> float:
    """Seconds until the next look-up after an answer that is good for ``ttl_s``. Pure."""
    return max(PAUSE_MIN_S, min(every_s, float(ttl_s)))


def endpoints_of(records: Sequence[SRV]) -> list[Endpoint]:
    """The endpoints of the lowest priority. Pure.

    Raises:
        DiscoveryError: the service says that it is not there (the target is the root).
    """
    there = [one for one in records if one.target != dns.name.root]
    if records and not there:
        raise DiscoveryError("the records say that there is no such service")
    best = min((one.priority for one in there), default=0)
    return usable(
        (one.target.to_text(omit_final_dot=True), one.port, None)
        for one in there
        if one.priority == best
    )


async def _resolved(name: str) -> dns.resolver.Answer:
    resolver = dns.asyncresolver.Resolver()
    # The answer is not kept: the pause between two look-ups already follows its time.
    return await resolver.resolve(name, "SRV", lifetime=SrvLookup.timeout_s / 2, search=True)
