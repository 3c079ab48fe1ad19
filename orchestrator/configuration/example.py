"""``deploy/config.example.yaml``: every key with its comment and its default.

``python -m orchestrator.configuration.example`` prints it; ``make configuration`` writes the file,
and a test fails when the file is stale.
"""

import json
import sys
import textwrap
from typing import Any

from orchestrator.configuration.keys import ADDRESSES, DRIVER, ConfigKey, Path, default_of, keys
from orchestrator.configuration.page import settings

FILE = "deploy/config.example.yaml"

_HEAD = """\
# The configuration of the AI Orchestrator: every key, with its default.
# Keys without a default are commented out. Delete what you do not change.
#
# `orchestrator --config FILE COMMAND`, or ORCH_CONFIG=FILE. Each key has a variable, named in
# brackets, which overrides it. `orchestrator config check FILE` finds mistakes, with their lines.
# ${NAME} in a value is the variable NAME of the environment. Where a key is secret, file:PATH is
# what the file holds. Times may have a unit: 500ms, 30s, 5m, 2h, 7d.
# Generated from the settings classes: `make configuration`.
"""
_WIDTH = 96
_OWN: dict[Path, tuple[str, str]] = {
    ("server", "http", "addr"): (
        "127.0.0.1:8000",
        "The address and the port of HTTP. Both servers listen on the same address; an empty one "
        "is every address. [ORCH_API_HOST, ORCH_API_HTTP_PORT]",
    ),
    ("server", "grpc", "addr"): (
        "127.0.0.1:9000",
        "The address and the port of gRPC. [ORCH_API_HOST, ORCH_API_GRPC_PORT]",
    ),
    DRIVER: ("postgres", "The only kind of database."),
}
_FIRST = ("server", "data", "services", "trace")
"""The sections that come first; the others follow in the order of the settings."""


def text() -> str:
    """The whole file."""
    tree: dict[str, Any] = {name: {} for name in _FIRST}
    for path, lines in _entries().items():
        section = tree
        for name in path[:-1]:
            section = section.setdefault(name, {})
        section[path[-1]] = lines
    return _HEAD + "".join(f"\n{_section(name, inner, 0)}" for name, inner in tree.items())


def _section(name: str, inner: dict[str, Any] | list[str], depth: int) -> str:
    indent = "  " * depth
    if isinstance(inner, list):
        return "".join(f"{indent}{line}\n" for line in inner)
    # Keys first: a section below them would otherwise seem to hold them.
    ordered = sorted(inner.items(), key=lambda item: isinstance(item[1], dict))
    return f"{indent}{name}:\n" + "".join(_section(n, i, depth + 1) for n, i in ordered)


def _entries() -> dict[Path, list[str]]:
    meanings = {row.variable: row.meaning for rows in settings().values() for row in rows}
    found = {
        path: [*_comment(meaning, len(path) - 1), f"{path[-1]}: {default}"]
        for path, (default, meaning) in _OWN.items()
    }
    assert found.keys() == {*ADDRESSES, DRIVER}
    return found | {path: _lines(key, meanings[key.variable]) for path, key in keys().items()}


def _lines(key: ConfigKey, meaning: str) -> list[str]:
    comment = _comment(f"{meaning} [{key.variable}]", len(key.path) - 1)
    default = default_of(key.variable)
    if default is None:
        return [*comment, f"# {key.path[-1]}:"]
    if key.is_path:
        # A default begins at the folder of the process, a path of the file at that of the file.
        return [*comment, f"# {key.path[-1]}: {_as_yaml(default)}"]
    return [*comment, f"{key.path[-1]}: {_as_yaml(default)}"]


def _as_yaml(default: Any) -> str:
    if isinstance(default, str):
        # A plain scalar where YAML would read the same text, otherwise quoted.
        plain = default.replace(".", "").replace("-", "").replace("_", "").isalnum()
        return default if plain and not default[0].isdigit() else json.dumps(default)
    if isinstance(default, bool):
        return "true" if default else "false"
    if isinstance(default, float) and default.is_integer():
        return str(int(default))
    return str(default)


def _comment(meaning: str, depth: int) -> list[str]:
    plain = meaning.replace("`", "").replace("\\|", "|")
    return [f"# {line}" for line in textwrap.wrap(plain, _WIDTH - 2 * depth)]


if __name__ == "__main__":
    sys.stdout.write(text())
