"""What a rebuild does to the counts, so that no event is lost or counted twice.

Counts go with the position of their partition: an event is counted when the position passes it.
"""

from collections.abc import Mapping
from enum import Enum

from sinks.pool import Connection
from sinks.queries import query


class Recount(Enum):
    """What becomes of the counts of one partition."""

    KEEP = "keep"
    """The position stays, or goes back to a log whose beginning was removed: the sink counts what
    it still writes. The removed events are not counted; ``missing`` names them."""
    REPAIR = "repair"
    """The position stays, and the log holds everything: counts that differ are replaced."""
    REPLACE = "replace"
    """The partition had no position: its counts are those of the log."""
    ADD = "add"
    """The log is another one: what it holds is counted beside what the former log held."""


async def recount(conn: Connection, recounts: Mapping[int, Recount]) -> None:
    """Bring the counts in line with a table set, inside the transaction that sets the positions.

    Call it after the positions were set.
    """
    parts: dict[Recount, list[int]] = {each: [] for each in Recount}
    for partition, each in recounts.items():
        parts[each].append(partition)
    rows = await conn.fetch(query("differing_counts"), parts[Recount.REPAIR])
    replaced = [*parts[Recount.REPLACE], *(row["log_partition"] for row in rows)]
    await conn.execute(query("drop_counts"), replaced)
    await conn.execute(query("add_built_counts"), [*replaced, *parts[Recount.ADD]])
    await conn.execute(query("set_counted_from"), parts[Recount.REPLACE], 0)
    await conn.execute(query("set_counted_from"), parts[Recount.ADD], None)
