"""Which endpoints are left out for a while because their calls failed. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

FAILURES = 3
"""Failed calls in a row after which an endpoint is left out."""

FIRST_S = 2.0
"""The first time. It doubles each time that the endpoint fails when it is tried again."""

LONGEST_S = 60.0


class EndpointStanding(IntEnum):
    """How an endpoint stands; a lower one is used first."""

    GOOD = 0
    TRIED_AGAIN = 1
    """Its time is over. It gets one call at a time until one is answered."""
    LEFT_OUT = 2


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """What the calls of one endpoint said about it."""

    failures: int = 0
    """In a row."""
    times: int = 0
    """How often in a row it was left out."""
    until_s: float = 0.0
    """When its time is over."""

    def standing(self, now_s: float) -> EndpointStanding:
        """How the endpoint stands now."""
        if not self.times:
            return EndpointStanding.GOOD
        return EndpointStanding.LEFT_OUT if now_s < self.until_s else EndpointStanding.TRIED_AGAIN

    def after(self, *, failed: bool, now_s: float, chance: float) -> EndpointHealth:
        """What a call says that ended now.

        Args:
            failed: False: it was answered, also by a refusal of its input.
            now_s: seconds of a clock that never goes back.
            chance: a draw from [0, 1): up to a fifth is added to the time, so that workers do not
                come back together.
        """
        if not failed:
            return EndpointHealth()
        standing = self.standing(now_s)
        if standing is EndpointStanding.LEFT_OUT:
            # It began before; many of them together must count as one.
            return self
        failures = self.failures + 1
        if standing is EndpointStanding.GOOD and failures < FAILURES:
            return replace(self, failures=failures)
        # The exponent is capped: 2.0 ** 1024 is no float.
        away_s = min(LONGEST_S, FIRST_S * 2.0 ** min(self.times, 10)) * (1 + chance / 5)
        return EndpointHealth(failures, self.times + 1, now_s + away_s)


def usable(standings: Sequence[EndpointStanding], calls: Sequence[int]) -> list[int]:
    """The indexes of the endpoints that may get a call: never none of several.

    Args:
        standings: of each endpoint.
        calls: in flight at each endpoint.
    """
    return (
        [
            index
            for index, standing in enumerate(standings)
            if standing is EndpointStanding.GOOD
            or (standing is EndpointStanding.TRIED_AGAIN and not calls[index])
        ]
        or [
            index
            for index, standing in enumerate(standings)
            if standing < EndpointStanding.LEFT_OUT
        ]
        or list(range(len(standings)))
    )
