"""One row of ``metric_counts``, as a batch adds to it and as it is read."""

from decimal import Decimal
from typing import Annotated

from msgspec import Struct

from schemas.records import Json
from sinks.row_sql import Integer, SqlType


class CountRow(Struct, frozen=True):
    """What a batch adds to a count, or what was counted."""

    log_partition: Integer
    metric: str
    labels: Json
    bucket: int
    events: int
    total: Annotated[Decimal, SqlType("numeric")]
