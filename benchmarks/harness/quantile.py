"""A quantile that was really measured."""

import math
from collections.abc import Iterable


def quantile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least ``share`` (above 0, at most 1) of all do not exceed."""
    ordered = sorted(values)
    return ordered[math.ceil(share * len(ordered)) - 1]
