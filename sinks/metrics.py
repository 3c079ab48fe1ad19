"""How long Postgres takes, for Prometheus: every statement of every pool is measured here."""

from asyncpg.connection import LoggedQuery
from prometheus_client import Histogram

from sinks.queries import name_of

QUERY_SECONDS = Histogram(
    "orchestrator_db_query_duration_seconds",
    "Duration of a statement until its answer, also of one that failed, by operation.",
    ["operation"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)

_NAMES = {
    "write": (*("write_batch", "delete_tasks", "written_events"),),
    "count": (
        *("read_task_heads", "read_counts", "read_tenant_usage"),
        "read_counted_models",
    ),
    "position": (
        *("read_positions", "lock_position"),
        *("read_index_positions", "begin_index_position", "move_index_position", "next_offsets"),
    ),
    "read": (
        *("read_tasks", "read_steps", "read_logs", "count_by_status", "list_tasks", "list_queue"),
        "usage",
    ),
    "letters": (
        *("upsert_letters", "read_states", "upsert_states", "find_gone_on", "find_sent"),
        *("find_successors", "empty_index", "read_letters"),
    ),
    "month": ("ensure_months", "months_ahead"),
}
_OPERATIONS = {name: operation for operation, names in _NAMES.items() for name in names}
_CONTROL = ("begin", "commit", "rollback")


def observe(asked: LoggedQuery) -> None:
    """Note a statement that ended. A pool calls it for each statement of its connections."""
    QUERY_SECONDS.labels(operation_of(asked.query)).observe(asked.elapsed)


def operation_of(statement: str) -> str:
    """The kind of a statement: one of ten values, whatever the statement is."""
    name = name_of(statement)
    if name is not None:
        return _OPERATIONS.get(name, "other")
    first = statement[:8].lower()
    for word in _CONTROL:
        if first.startswith(word):
            return word
    # Pages of letters are composed of several named statements.
    return "letters" if "dead_letters" in statement else "other"
