"""The named queries of ``queries.sql`` (what the sink writes) and ``read_queries.sql``.

A query begins with ``-- name: <name>`` and a comment that describes it; the SQL follows.
"""

import re
from importlib.resources import files

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


_FILES = ("queries.sql", "read_queries.sql")
_QUERIES = load("\n".join(files("sinks").joinpath(name).read_text("utf-8") for name in _FILES))


def query(name: str) -> str:
    """The SQL of a query; a name that is not there is a bug (``KeyError``)."""
    return _QUERIES[name]
