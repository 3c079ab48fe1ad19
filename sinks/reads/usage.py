"""What tasks consumed, as sums. Integers only: tokens, and money in micro-USD."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any, Literal, get_args

Dimension = Literal["model", "type", "tenant", "day", "status"]

DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)
"""The dimensions by which usage can be grouped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageFilter:
    """A filter and the grouping. A filter field that is None matches everything."""

    by: tuple[Dimension, ...] = ()
    tenant_id: str | None = None
    since: datetime | None = None
    """Tasks that were created then or later; with a zone."""
    until: datetime | None = None
    """Tasks that were created before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """One group: a dimension that was not requested is None.

    ``input_tokens``, ``output_tokens`` and ``cost_micros`` belong to attempts that succeeded and
    still count, or that run. The wasted ones belong to attempts that failed, were given up, or
    whose output a later run dropped. The sum of both is what the services reported. The report
    of an attempt that came too late is ignored and makes no event, so it is not counted here.
    """

    model: str | None
    """None also for steps without a model."""
    type: str | None
    tenant: str | None
    day: date | None
    """The day on which the task was created, UTC."""
    status: str | None
    """The status of the task."""
    tasks: int
    calls: int
    """Attempts that a worker began, including wasted ones."""
    input_tokens: int
    output_tokens: int
    cost_micros: int
    wasted_calls: int
    wasted_input_tokens: int
    wasted_output_tokens: int
    wasted_cost_micros: int

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> UsageRow:
        """Convert a row of the query; its sums are ``numeric`` and whole."""
        groups: dict[str, Any] = {name: row[name] for name in DIMENSIONS}
        counts: dict[str, Any] = {
            item.name: int(row[item.name]) for item in fields(cls)[len(DIMENSIONS) :]
        }
        return cls(**groups, **counts)
