"""How a step's input, or a task's output, is built from the task and earlier outputs.

A template is JSON in which some values are paths: ``$.input…``, ``$.metadata…`` or
``$.steps.<step>…``, followed by the keys of nested objects. Lists are not indexed: a service
that wants the third document gets all of them. ``null`` is a value, so a default stands in
for an absent key only.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from schemas.errors import OrchestratorError
from schemas.records import Json, StepName

_DECODE_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_PATH = re.compile(r"\$\.(input|metadata|steps)((?:\.[A-Za-z_][A-Za-z0-9_-]*)*)")


class PathMissingError(OrchestratorError):
    """A path without a default does not exist. The document that should hold it is faulty."""

    code = "STEP_INPUT_INCOMPLETE"

    def __init__(self, path: "Path") -> None:
        super().__init__(f"{path} is missing")
        self.path = path


@dataclass(frozen=True, slots=True)
class Path:
    """The source of a value."""

    root: str
    """``input``, ``metadata`` or ``steps``."""
    keys: tuple[str, ...]
    """From the outermost key; under ``steps`` the first key is a step's name."""

    @property
    def step(self) -> StepName | None:
        """The step whose output the path reads, if any."""
        return StepName(self.keys[0]) if self.root == "steps" else None

    def __str__(self) -> str:
        return ".".join(("$", self.root, *self.keys))


@dataclass(frozen=True, slots=True)
class Literal:
    """A JSON value that is the same for every task."""

    value: Any


@dataclass(frozen=True, slots=True)
class Reference:
    """The value at a path; without a default the path must exist."""

    path: Path
    default: Literal | None = None


@dataclass(frozen=True, slots=True)
class Fields:
    """An object whose values are templates."""

    fields: tuple[tuple[str, "Template"], ...]


@dataclass(frozen=True, slots=True)
class Items:
    """A list whose items are templates."""

    items: tuple["Template", ...]


Template = Literal | Reference | Fields | Items


def parse_path(text: str) -> Path:
    """Read a path such as ``$.steps.retrieve.documents``.

    Raises:
        ValueError: the text is not a path; the message describes the format of a path.
    """
    match = _PATH.fullmatch(text)
    if match is None or (match[1] == "steps" and not match[2]):
        raise ValueError(
            f"{text} is not a path; a path begins with $.input, $.metadata or $.steps.<step>, "
            "and keys follow"
        )
    return Path(match[1], tuple(match[2].split(".")[1:]))


def paths(template: Template) -> Iterator[Path]:
    """All paths in a template, in the order in which they are written."""
    match template:
        case Reference(path):
            yield path
        case Fields(fields):
            for _, value in fields:
                yield from paths(value)
        case Items(items):
            for item in items:
                yield from paths(item)
        case Literal():
            return


def to_json(template: Template) -> Any:
    """A template as it is written in a pipeline file, for people to read."""
    match template:
        case Literal(value):
            return {"literal": value} if _looks_like_a_path(value) else value
        case Reference(path, default):
            short = str(path)
            return short if default is None else {"from": short, "default": default.value}
        case Fields(fields):
            return {name: to_json(value) for name, value in fields}
        case Items(items):
            return [to_json(item) for item in items]


def _looks_like_a_path(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("$")


class Scope:
    """The documents that paths lead into. What a path does not name is not parsed.

    Args:
        given: the task's input; as all documents, text that ``parse_value`` accepted.
        metadata: of the task.
        outputs: of the steps before.
    """

    def __init__(self, *, given: Json, metadata: Json, outputs: Mapping[StepName, Json]) -> None:
        self._texts: dict[tuple[str, ...], msgspec.Raw] = {
            ("input",): msgspec.Raw(given),
            ("metadata",): msgspec.Raw(metadata),
        }
        self._texts |= {("steps", step): msgspec.Raw(text) for step, text in outputs.items()}
        self._objects: dict[tuple[str, ...], Mapping[str, msgspec.Raw] | None] = {}

    def find(self, path: Path) -> msgspec.Raw:
        """The text of the value at a path, as it is in its document.

        Raises:
            PathMissingError: a key is absent, or the path leads into a value that is not an object.
        """
        at: tuple[str, ...] = ("steps", *path.keys[:1]) if path.step else (path.root,)
        text = self._texts.get(at)
        for key in path.keys[1:] if path.step else path.keys:
            members = None if text is None else self._members(at, text)
            text = None if members is None else members.get(key)
            at = (*at, key)
        if text is None:
            raise PathMissingError(path)
        return text

    def _members(self, at: tuple[str, ...], text: msgspec.Raw) -> Mapping[str, msgspec.Raw] | None:
        """The members of an object; None if the value is not one."""
        if at not in self._objects:
            try:
                self._objects[at] = _DECODE_MEMBERS(text)
            except msgspec.ValidationError:
                self._objects[at] = None
        return self._objects[at]


def build(template: Template, scope: Scope) -> Any:
    """Fill in a template: a value that ``compact`` writes. Values at paths are texts in it.

    Raises:
        PathMissingError: a path without a default does not exist.
    """
    match template:
        case Literal(value):
            return value
        case Reference(path, default):
            return _resolve(path, default, scope)
        case Fields(fields):
            return {name: build(value, scope) for name, value in fields}
        case Items(items):
            return [build(item, scope) for item in items]


def _resolve(path: Path, default: Literal | None, scope: Scope) -> Any:
    try:
        return scope.find(path)
    except PathMissingError:
        if default is None:
            raise
        return default.value
