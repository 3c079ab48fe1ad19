"""What every expression returned so far, and while which fault it was first seen."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from tests.monitoring.observe.expressions import Expression, without_thresholds
from tests.monitoring.observe.servers import Prometheus

SOUND = "sound"
"""The time before the first fault."""


class Seen(Enum):
    """How much of an expression was seen; the last is the most."""

    NOTHING = "missing"
    ZERO = "zeros"
    """Data, but no value other than 0."""
    COMPARED = "compared"
    """An alert whose expression returns data once its thresholds are left out."""
    DATA = "data"
    """For an alert: it would fire."""


@dataclass(slots=True)
class Sighting:
    """What was seen of one expression."""

    expression: Expression
    seen: Seen = Seen.NOTHING
    at_s: float = 0.0
    during: str = SOUND
    """The fault while which ``seen`` was first true."""


@dataclass(slots=True)
class Sightings:
    """Looks at all expressions again and again."""

    prometheus: Prometheus
    all: list[Sighting]
    during: str = SOUND
    _began_s: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, prometheus: Prometheus, expressions: Sequence[Expression]) -> Sightings:
        """Nothing seen yet."""
        return cls(prometheus, [Sighting(expression) for expression in expressions])

    @property
    def elapsed_s(self) -> float:
        """Seconds since the first look."""
        return time.monotonic() - self._began_s

    async def look(self) -> None:
        """Run every expression whose data was not seen yet."""
        for sighting in self.all:
            if sighting.seen is not Seen.DATA:
                found = await self._seen(sighting.expression)
                if _ORDER[found] > _ORDER[sighting.seen]:
                    sighting.seen, sighting.at_s = found, self.elapsed_s
                    sighting.during = self.during

    async def _seen(self, expression: Expression) -> Seen:
        values = await self.prometheus.values(expression.text)
        if expression.source == "alert":
            if values:
                return Seen.DATA
            compared = await self.prometheus.values(without_thresholds(expression.text))
            return Seen.COMPARED if compared else Seen.NOTHING
        if any(values):
            return Seen.DATA
        return Seen.ZERO if values else Seen.NOTHING


_ORDER = {seen: place for place, seen in enumerate(Seen)}
