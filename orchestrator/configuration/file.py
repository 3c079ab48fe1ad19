"""Reads the configuration file: a YAML document becomes ``ORCH_*`` variables.

The environment overrides the file, and both have the same checks. ``docs/configuration.md``
describes the shape.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from agents.services.access import SERVICE_NAME
from orchestrator.configuration import keys as known
from orchestrator.configuration.keys import ConfigKey, keys
from schemas.errors import SettingsError
from streams.regular_file import read_regular_file, read_settings_file
from streams.watched_file import secret_line
from tasks.yaml_reader import YamlReader

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_ADDRESS = re.compile(r"(?P<host>\[[^\]]+\]|[^:\s]*):(?P<port>\d{1,5})")
_FILE = "file:"


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """What a file sets."""

    variables: dict[str, str] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    """``file:line`` of each variable."""

    def put(self, variable: str, value: str, place: str) -> None:
        """Set a variable.

        Raises:
            SettingsError: the file sets it to another value already: both servers have one address.
        """
        before = self.variables.setdefault(variable, value)
        if before != value:
            raise SettingsError(
                f"{place}: server.http.addr and server.grpc.addr must name the same host; the "
                f"other one is at {self.places[variable]} ({variable})"
            )
        self.places.setdefault(variable, place)


def read_config_file(path: Path, environment: Mapping[str, str]) -> ConfigFile:
    """Read a configuration file.

    Args:
        path: the file.
        environment: for ``${VARIABLE}`` in values.

    Raises:
        SettingsError: the file cannot be read, a key is unknown, or a value has the wrong form; the
            message begins with the file and the line, and quotes no value of a secret.
    """
    try:
        text = read_settings_file(path).decode()
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: not text in UTF-8") from None
    reader = _ConfigReader(str(path), environment)
    reader.section((), reader.yaml.compose(text))
    return reader.found


class _ConfigReader:
    """Walks the sections of one file."""

    def __init__(self, file: str, environment: Mapping[str, str]) -> None:
        self.found = ConfigFile()
        self.yaml = YamlReader(file, SettingsError)
        self._folder = Path(file).parent
        self._environment = environment
        self._services: dict[str, str] = {}

    def section(self, path: known.Path, node: Node) -> None:
        """Read one section and the sections in it. An empty one sets nothing."""
        if isinstance(node, ScalarNode) and node.tag == "tag:yaml.org,2002:null":
            return
        if not isinstance(node, MappingNode):
            raise self.yaml.error(node, f"{_dotted(path) or 'the file'} must be a mapping of keys")
        names = _names_below(path)
        if path == known.SERVICES:
            names |= {n for n in self.yaml.keys(node) if SERVICE_NAME.fullmatch(n)}
        for name, value in self.yaml.mapping(node, optional=tuple(sorted(names))).items():
            self._entry((*path, name), value)
        if path == known.SERVICES and self._services:
            given = ",".join(f"{name}={address}" for name, address in self._services.items())
            self.found.put(known.EXTRA_SERVICES, given, self.yaml.where(node))

    def _entry(self, path: known.Path, node: Node) -> None:
        place = self.yaml.where(node)
        if path in known.ADDRESSES:
            self._address(path, node)
        elif path == known.DRIVER:
            if self.yaml.json(node) != "postgres":
                raise self.yaml.error(node, f"{_dotted(path)} must be postgres")
        elif (key := keys().get(path)) is not None:
            if (value := self._value(key, node)) is not None:
                self.found.put(key.variable, value, place)
        elif path[:-1] == known.SERVICES:
            address = self._expanded(node, self.yaml.text(node))
            if "," in address:
                raise self.yaml.error(node, f"{_dotted(path)} holds a comma")
            self._services[path[-1]] = address
        else:
            self.section(path, node)

    def _address(self, path: known.Path, node: Node) -> None:
        matched = _ADDRESS.fullmatch(self._expanded(node, self.yaml.text(node)))
        if matched is None:
            raise self.yaml.error(node, f"{_dotted(path)} must be HOST:PORT, as in 127.0.0.1:8000")
        host, port = known.ADDRESSES[path]
        place = self.yaml.where(node)
        # An empty host is every address, as Go's servers have it.
        self.found.put(host, matched["host"].strip("[]") or "0.0.0.0", place)
        self.found.put(port, matched["port"], place)

    def _value(self, key: ConfigKey, node: Node) -> str | None:
        """The value as the text of a variable; None: not set."""
        text = self._text(key, node)
        if not text:
            return text
        if key.is_path:
            return str(self._folder / text)
        return self._named_paths(text) if key.holds_paths else text

    def _named_paths(self, text: str) -> str:
        """``name=path`` with commas between; each path begins at the folder of the file."""
        pairs = (pair.partition("=") for pair in text.split(","))
        return ",".join(
            f"{name}={self._folder / path.strip()}" if equals else name
            for name, equals, path in pairs
        )

    def _text(self, key: ConfigKey, node: Node) -> str | None:
        if isinstance(node, MappingNode):
            pairs = self._pairs(node)
            return self._list(key, node, map(self._absolute, pairs) if key.secret else pairs)
        if isinstance(node, SequenceNode):
            return self._list(key, node, [self._scalar(key, item) or "" for item in node.value])
        return self._scalar(key, node)

    def _pairs(self, node: MappingNode, before: str = "") -> list[str]:
        """``name=value`` for each entry; names of inner mappings follow a dot."""
        found = []
        for name, value in self.yaml.mapping(node, optional=tuple(self.yaml.keys(node))).items():
            if isinstance(value, MappingNode):
                found += self._pairs(value, f"{before}{name}.")
            else:
                found.append(f"{before}{name}={self._expanded(value, self.yaml.text(value))}")
        return found

    def _absolute(self, pair: str) -> str:
        """A pair whose ``file:PATH`` begins at the folder of the configuration file."""
        name, equals, value = pair.partition("=")
        before, file, path = value.rpartition(_FILE)
        if not file or not (before == "" or before.endswith(" ")):
            return pair
        return f"{name}{equals}{before}{_FILE}{self._folder / path}"

    def _list(self, key: ConfigKey, node: Node, items: Iterable[str]) -> str:
        items = list(items)
        if key.kind is not str:
            raise self.yaml.error(node, f"{_dotted(key.path)} must be one value")
        if any("," in item for item in items):
            raise self.yaml.error(node, f"an item of {_dotted(key.path)} holds a comma")
        return ",".join(items)

    def _scalar(self, key: ConfigKey, node: Node) -> str | None:
        value = self.yaml.json(node)
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int | float):
            return repr(value)
        if not isinstance(value, str):
            return None
        text = self._expanded(node, value)
        if key.secret and text.startswith(_FILE):
            return self._secret(node, self._folder / text.removeprefix(_FILE))
        if key.seconds is not None and (matched := _TIME.fullmatch(text)):
            number = float(matched[1]) * _SECONDS[matched[2]] / key.seconds
            return str(int(number)) if number.is_integer() else repr(number)
        return text

    def _expanded(self, node: Node, text: str) -> str:
        """The text with ``${VARIABLE}`` replaced; any other ``${`` is a mistake."""
        if "${" in _REFERENCE.sub("", text):
            raise self.yaml.error(node, "${ must be the beginning of ${NAME}")

        def value(found: re.Match[str]) -> str:
            if found[1] not in self._environment:
                raise self.yaml.error(node, f"the environment has no variable {found[1]}")
            return self._environment[found[1]]

        return _REFERENCE.sub(value, text)

    def _secret(self, node: Node, path: Path) -> str:
        try:
            return secret_line(read_regular_file(path))
        except OSError as error:
            raise self.yaml.error(node, f"{path}: {error.strerror}") from error
        except ValueError as error:
            raise self.yaml.error(node, f"{path}: {error}") from error


def _names_below(path: known.Path) -> set[str]:
    """The next names of all keys below a section."""
    paths = (*keys(), *known.ADDRESSES, known.DRIVER)
    return {p[len(path)] for p in paths if p[: len(path)] == path and len(p) > len(path)}


def _dotted(path: known.Path) -> str:
    return ".".join(path)


def config_path(environment: Mapping[str, str]) -> Path | None:
    """The file that ``ORCH_CONFIG`` names; None if it is not set."""
    named = environment.get("ORCH_CONFIG", "")
    return Path(named).absolute() if named else None
