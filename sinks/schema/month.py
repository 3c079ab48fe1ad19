"""Months of UTC: the partitions of the partitioned tables."""

from datetime import date, timedelta
from functools import lru_cache

from schemas.records import Millis

_DAY_MS = 24 * 60 * 60 * 1000
_EPOCH = date(1970, 1, 1)


def month_of(at: Millis) -> date:
    """The first day of the month that contains a time.

    Raises:
        ValueError: the time is outside of the years 1 to 9999; no row can hold it.
    """
    return _month_of_day(at // _DAY_MS)


@lru_cache(maxsize=1024)
def _month_of_day(day: int) -> date:
    try:
        return (_EPOCH + timedelta(days=day)).replace(day=1)
    except OverflowError as error:
        raise ValueError(f"{day} days from 1970 is not a date") from error
