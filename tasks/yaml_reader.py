"""Reads YAML as nodes, so that every error names its file and line."""

import math
import re
from collections.abc import Callable
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from schemas.errors import InvalidRecordError, OrchestratorError
from schemas.json_text import compact, parse_value
from schemas.limits import JSON_DEPTH_MAX
from tasks.pipeline import PipelineFileError

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_SERVICE = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_JSON_TAGS = {f"tag:yaml.org,2002:{tag}" for tag in ("str", "int", "float", "bool", "null")}
_LITERAL_MAX_BYTES = 64 * 1024
# Every process of the system reads the pipelines when it starts; libyaml needs a quarter of the
# time.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class YamlReader:
    """Typed reads from the nodes of one file. All methods raise ``error_class``."""

    def __init__(
        self, file: str, error_class: Callable[[str], OrchestratorError] = PipelineFileError
    ) -> None:
        self._file = file
        self._error_class = error_class

    def compose(self, text: str) -> Node:
        """Parse the text of a file with exactly one document, without aliases or tags."""
        try:
            self._check_events(text)
            root = yaml.compose(text, Loader=_LOADER)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 1
            raise self._error_at(line, error.problem or "no YAML") from None
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise self._error_at(line, "a character that YAML does not allow") from None
        if root is None:
            raise self._error_at(1, "the file is empty")
        return root

    def error(self, node: Node, message: str) -> OrchestratorError:
        """An error about a node, to be raised."""
        return self._error_class(f"{self.where(node)}: {message}")

    def where(self, node: Node) -> str:
        """``file:line`` of a node."""
        return f"{self._file}:{node.start_mark.line + 1}"

    def mapping(
        self, node: Node, *, required: tuple[str, ...] = (), optional: tuple[str, ...] = ()
    ) -> dict[str, Node]:
        """The values of a mapping by key; an unknown, duplicate or missing key is an error."""
        if not isinstance(node, MappingNode):
            raise self.error(node, f"expected a mapping with {', '.join(required + optional)}")
        fields: dict[str, Node] = {}
        for key_node, value in node.value:
            key = self.text(key_node)
            if key not in required + optional:
                known = ", ".join(required + optional)
                raise self.error(key_node, f"unknown key {key}; known are {known}")
            if key in fields:
                raise self.error(key_node, f"the key {key} occurs twice")
            fields[key] = value
        for key in required:
            if key not in fields:
                raise self.error(node, f"the key {key} is missing")
        return fields

    def keys(self, node: Node) -> frozenset[str]:
        """The keys of a mapping, which must be strings."""
        return frozenset(self.text(key) for key, _ in node.value)

    def sequence(self, node: Node, *, at_least: int, at_most: int) -> list[Node]:
        """The items of a list."""
        if not isinstance(node, SequenceNode) or not at_least <= len(node.value) <= at_most:
            raise self.error(node, f"expected a list of {at_least} to {at_most} items")
        return list(node.value)

    def text(self, node: Node) -> str:
        """A string."""
        value = self.json(node)
        if not isinstance(value, str):
            raise self.error(node, "expected a string")
        return value

    def name(self, node: Node) -> str:
        """A lower-case name, which may become part of a topic."""
        return self._matching(node, _NAME)

    def service(self, node: Node) -> str:
        """The name of a service: lower case, its parts joined by ``-`` or ``_``."""
        return self._matching(node, _SERVICE)

    def word(self, node: Node) -> str:
        """A name in either case, such as a method's."""
        return self._matching(node, _WORD)

    def integer(self, node: Node, *, at_least: int, at_most: int) -> int:
        """A whole number within the bounds, both included."""
        value = self.json(node)
        if type(value) is not int or not at_least <= value <= at_most:
            raise self.error(node, f"expected a whole number from {at_least} to {at_most}")
        return value

    def number(self, node: Node, *, above: float, at_most: float) -> float:
        """A number above ``above`` and at most ``at_most``."""
        value = self.json(node)
        if type(value) not in (int, float) or not above < value <= at_most:
            raise self.error(node, f"expected a number above {above:g}, at most {at_most:g}")
        return float(value)

    def json(self, node: Node) -> Any:
        """A value that JSON can hold and Postgres can store."""
        value = self._plain(node)
        try:
            parse_value(compact(value), what="the value", max_bytes=_LITERAL_MAX_BYTES)
        except InvalidRecordError as error:
            raise self.error(node, str(error)) from None
        return value

    def _plain(self, node: Node) -> Any:
        match node:
            case MappingNode():
                fields = self.mapping(node, optional=tuple(self.keys(node)))
                return {key: self._plain(value) for key, value in fields.items()}
            case SequenceNode():
                return [self._plain(item) for item in node.value]
            case ScalarNode() if node.tag in _JSON_TAGS:
                return self._scalar(node)
        raise self.error(node, "not a JSON value (quote it if it is meant as text)")

    def _scalar(self, node: ScalarNode) -> Any:
        try:
            value = yaml.constructor.SafeConstructor().construct_object(node)
        except (ValueError, yaml.YAMLError):
            raise self.error(node, "no value of its type") from None
        if isinstance(value, float) and not math.isfinite(value):
            raise self.error(node, "not a finite number")
        return value

    def _matching(self, node: Node, pattern: re.Pattern[str]) -> str:
        value = self.text(node)
        if not pattern.fullmatch(value):
            raise self.error(node, f"{value!a} does not match {pattern.pattern}")
        return value

    def _check_events(self, text: str) -> None:
        """Refuse text whose tree of nodes would be endless, or too deep to walk."""
        depth = 0
        for event in yaml.parse(text, Loader=_LOADER):
            line = event.start_mark.line + 1 if event.start_mark else 1
            if getattr(event, "anchor", None) or getattr(event, "tag", None):
                raise self._error_at(line, "anchors, aliases and tags are not allowed")
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > JSON_DEPTH_MAX:
                raise self._error_at(line, f"nested deeper than {JSON_DEPTH_MAX}")

    def _error_at(self, line: int, message: str) -> OrchestratorError:
        return self._error_class(f"{self._file}:{line}: {message}")
