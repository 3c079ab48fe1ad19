"""``docs/configuration.md``: every setting, from the classes that define them.

``python -m orchestrator.configuration.page`` prints it; ``make configuration`` writes the file,
and a test fails when the file is stale.
"""

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_type_hints

from orchestrator.settings import PREFIX, Settings

FILE = "docs/configuration.md"

_HEAD = Path(__file__).with_name("page_head.md")

_GROUPS: Mapping[str, str] = MappingProxyType(
    {
        "kafka": "Kafka: needed by every role, by `serve`, and by commands that read topics",
        "topics": "Topics: the same in every process of one system",
        "schemas": "Schema registry: the same in every process of one system",
        "limits": "Limits: the same in every process of one system",
        "pipelines": "Pipelines: the same in every process of one system",
        "router": "Router: the same in every router",
        "worker": "Step workers",
        "flood_guard": "Flood guard: when a step worker pauses for a service that is down",
        "breaker": "Circuit breaker: when a worker stops calling a service that fails",
        "retry_budget": "Retry budget: how many calls of a service may be retries",
        "services": "Services: where step workers find them",
        "postgres": "Postgres: needed by the sink, the dead-letter index, `serve` for lists",
        "api": "The service (`orchestrator serve`) and its callers",
        "api_tls": "TLS of the service",
        "api_limits": "Limits of the service for connections and callers",
        "api_client": "How `orchestrator task` connects to the service",
        "embedded": "The servers that `orchestrator dev` starts",
        "dev": "How commands find the system of `orchestrator dev`",
        "demo": "The reference services of `orchestrator dev`",
        "log": "Logs",
        "metrics": "Metrics",
        "traces": "Traces",
    }
)

_UNITS = (
    ("_per_s", "a second"),
    ("_max_bytes", "bytes"),
    ("_bytes", "bytes"),
    ("_ms", "milliseconds"),
    ("_s", "seconds"),
)


@dataclass(frozen=True, slots=True)
class Setting:
    """One variable."""

    variable: str
    default: str
    """The default as it would be written in the environment; empty if the default is empty."""
    unit: str
    meaning: str
    """The effect of the setting and the consequence of other values; Markdown on one line."""


def settings() -> dict[str, list[Setting]]:
    """Every setting, by the name of its group."""
    hints = get_type_hints(Settings)
    return {group.name: list(_group(group.name, hints[group.name])) for group in fields(Settings)}


def text() -> str:
    """The whole page."""
    parts = [_HEAD.read_text("utf-8")]
    for group, rows in settings().items():
        lines = [
            f"\n## {_GROUPS[group]}\n",
            "| variable | default | unit | meaning |",
            "|---|---|---|---|",
            *(f"| `{r.variable}` | {_shown(r)} | {r.unit} | {r.meaning} |" for r in rows),
        ]
        parts.append("\n".join(lines) + "\n")
    return "".join(parts)


def _group(name: str, kind: type[Any]) -> Iterator[Setting]:
    meanings, hints = _meanings(kind), get_type_hints(kind)
    for item in fields(kind):
        yield Setting(
            variable=f"{PREFIX}{name}_{item.name}".upper(),
            default=_default(item),
            unit=_unit(item.name, hints[item.name]),
            meaning=_with_variables(
                _on_one_line(meanings[item.name]), name, meanings.keys() - {item.name}
            ),
        )


def _meanings(kind: type[Any]) -> dict[str, str]:
    """The string below each field, which Python does not keep."""
    [found] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(found, ast.ClassDef)
    meanings = {}
    for item, below in zip(found.body, found.body[1:], strict=False):
        match item, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=said)):
                meanings[name] = str(said)
    return meanings


def _default(item: "Field[Any]") -> str:
    value = item.default if item.default is not MISSING else ""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case float() if value.is_integer():
            return str(int(value))
    return str(value)


def _unit(name: str, kind: Any) -> str:
    for suffix, unit in _UNITS:
        if name.endswith(suffix):
            return unit
    if name.endswith("port"):
        return "port"
    units = {int: "number", float: "share", bool: "true or false", Path: "path"}
    kinds = (kind, *getattr(kind, "__args__", ()))
    return next((units[one] for one in kinds if one in units), "text")


def _on_one_line(docstring: str) -> str:
    plain = " ".join(docstring.split())
    plain = re.sub(r":\w+:`([^`]+)`", r"`\1`", plain).replace("``", "`")
    return plain.replace("|", "\\|")


def _with_variables(meaning: str, group: str, names: Collection[str]) -> str:
    """Replace the names of fields of the same group by the variables that set them."""

    def variable(found: re.Match[str]) -> str:
        name = found[1]
        return f"`{PREFIX}{group}_{name}`".upper() if name in names else found[0]

    return re.sub(r"`(\w+)`", variable, meaning)


def _shown(setting: Setting) -> str:
    if not setting.default:
        return "empty"
    if setting.unit == "bytes" and int(setting.default) >= 1024 * 1024:
        return f"`{setting.default}` ({int(setting.default) // 1024 // 1024} MiB)"
    return f"`{setting.default}`"


if __name__ == "__main__":
    sys.stdout.write(text())
