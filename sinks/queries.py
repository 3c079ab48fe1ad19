"""The named queries of the ``.sql`` files.

A query begins with ``-- name: <name>`` and a comment that describes it; the SQL follows.
"""

import re
from functools import cache
from importlib.resources import files

from sinks.columns import ChangeRow, LogRow, PositionRow, RefusalRow, StepRow, TaskRow
from sinks.counts.row import CountRow
from sinks.letters.rows import LetterRow, StateRow
from sinks.reads.stored import ListedTask, StoredLog, StoredTask
from sinks.row_sql import fill_in

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load(text: str) -> dict[str, str]:
    """Split the text of a query file into its queries, by name.

    Raises:
        ValueError: a name is used twice, or a query has no description or no statement.
    """
    parts = _NAME.split(text)[1:]
    queries: dict[str, str] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        lines = body.strip().splitlines()
        if not lines or not lines[0].startswith("-- "):
            raise ValueError(f"query {name} has no description")
        statement = "\n".join(line for line in lines if not line.startswith("--")).strip()
        if not statement or name in queries:
            raise ValueError(f"query {name} is empty, or there are two")
        queries[name] = statement.removesuffix(";")
    return queries


SCHEMA = "ai_orchestrator"
"""The schema of the projection, as the files name it."""

_FILES = (
    *("queries.sql", "batch.sql", "rebuild.sql", "reads/queries.sql", "server/queries.sql"),
    *("letters/queries.sql", "letters/pages.sql"),
)


@cache
def query(name: str, schema: str = SCHEMA) -> str:
    """The SQL of a query, for the tables of ``schema``; an unknown name is a bug (``KeyError``)."""
    statement = in_schema(_QUERIES[name], schema)
    _NAMES[statement] = name
    return statement


def name_of(statement: str) -> str | None:
    """The name of a query by its text; None if :func:`query` did not return it."""
    return _NAMES.get(statement)


def in_schema(statement: str, schema: str) -> str:
    """The statement with our schema replaced by that of another table set."""
    return statement.replace(f"{SCHEMA}.", f"{schema}.").replace(f"'{SCHEMA}'", f"'{schema}'")


_NAMES: dict[str, str] = {}

_ROWS = (
    *(PositionRow, TaskRow, ChangeRow, RefusalRow, StepRow, LogRow),
    *(CountRow, LetterRow, StateRow),
)
_STORED = (StoredTask, ListedTask, StoredLog)

_QUERIES = load(
    fill_in(
        "\n".join(files("sinks").joinpath(name).read_text(encoding="utf-8") for name in _FILES),
        {row.__name__: row for row in (*_ROWS, *_STORED)},
    )
)
