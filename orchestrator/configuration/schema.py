"""The JSON Schema of the configuration file, for editors. Draft 2020-12."""

import types
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from orchestrator.configuration.keys import ADDRESSES, DRIVER, SERVICES, ConfigKey, keys
from orchestrator.configuration.page import settings

_TIME = r"^\d+(\.\d+)?\s*(ms|s|m|h|d)$"
_REFERENCE = {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*\}"}


def config_schema() -> dict[str, Any]:
    """The schema: every section and key, with its meaning."""
    meanings = {row.variable: row.meaning for rows in settings().values() for row in rows}
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of the AI Orchestrator",
        **_section(),
    }
    leaves: dict[tuple[str, ...], dict[str, Any]] = {
        path: {"type": "string", "description": f"HOST:PORT ({', '.join(variables)})"}
        for path, variables in ADDRESSES.items()
    }
    leaves[DRIVER] = {"const": "postgres"}
    for path, key in keys().items():
        leaves[path] = _leaf(key, meanings[key.variable])
    for path, leaf in leaves.items():
        section = schema
        for name in path[:-1]:
            section = section["properties"].setdefault(name, _section())
        section["properties"][path[-1]] = leaf
    schema["properties"][SERVICES[0]]["additionalProperties"] = {"type": "string"}
    return schema


def _section() -> dict[str, Any]:
    return {"type": ["object", "null"], "additionalProperties": False, "properties": {}}


def _leaf(key: ConfigKey, meaning: str) -> dict[str, Any]:
    described = {"description": f"{meaning} ({key.variable})"}
    kind = _plain_type(key.kind)
    if kind in (str, Path):
        plain = {"type": ["string", "number", "boolean", "array", "object", "null"]}
        return described | (plain if kind is str else {"type": ["string", "null"]})
    if kind is bool:
        return described | {"anyOf": [{"type": ["boolean", "null"]}, _REFERENCE]}
    number = {"type": ["integer" if kind is int else "number", "null"]}
    options = [number, _REFERENCE]
    if key.seconds is not None:
        options.append({"type": "string", "pattern": _TIME})
    return described | {"anyOf": options}


def _plain_type(kind: Any) -> Any:
    """The type without ``None``."""
    if get_origin(kind) in (Union, types.UnionType):
        return next(option for option in get_args(kind) if option is not type(None))
    return kind
