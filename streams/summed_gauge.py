"""A gauge of a process whose value is a sum: one process may run several roles."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

from prometheus_client import Gauge

T = TypeVar("T")


class SummedGauge(Generic[T]):
    """Sets a gauge to the sum over the parts that live; it is computed when it is scraped.

    Args:
        gauge: without labels.
        value: of one part. The thread that answers Prometheus calls it: it may only read.
    """

    def __init__(self, gauge: Gauge, value: Callable[[T], float]) -> None:
        self._parts: weakref.WeakSet[T] = weakref.WeakSet()
        self._value = value
        gauge.set_function(self._sum)

    def add(self, part: T) -> None:
        """Count a part from now on, until nobody refers to it."""
        self._parts.add(part)

    def _sum(self) -> float:
        return sum(self._value(part) for part in list(self._parts))
