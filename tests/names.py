"""Resolves the names that docs and docstrings put into backticks: files, parts, commands, settings.

A name that could be one of ours has to be one: a page that tells about a part that was renamed or
never existed is found by :func:`problem`.
"""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import typer

from orchestrator.cli.app import app
from orchestrator.configuration.load import CONFIG
from orchestrator.settings import Settings
from tests.source_words import (
    PACKAGES,
    all_files,
    all_strings,
    all_tests,
    all_text,
    all_words,
    python_files,
)

_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_FILE = re.compile(r"(?:[\w.-]+/)*[\w-]+\.(?:py|md|sql|proto|avsc|yaml|json|toml|sh|lock|txt|gz)")
_FOLDER = re.compile(r"(?:[\w.-]+/)+")


def problem(text: str) -> str | None:
    """Why a text in backticks does not resolve; None if it does, or if it is not a name.

    Args:
        text: what stands between backticks, on one line.
    """
    for pattern, check in _KINDS:
        if pattern.fullmatch(text):
            return check(text)
    return None


def defines(path: Path, name: str) -> bool:
    """Whether a Python file defines a function or class, or a method as ``Class.method``."""
    text = path.read_text("utf-8")
    return all(re.search(rf"(def|class) {part}\b", text) for part in name.split("."))


def _no_file(text: str) -> str | None:
    found = Path(text).exists() or any(
        file.as_posix().endswith("/" + text) or file.as_posix() == text for file in all_files()
    )
    written = text.rsplit("/", 1)[-1] in all_strings()
    return None if found or written else "no such file"


def _no_folder(text: str) -> str | None:
    folder = text.rstrip("/")
    found = Path(folder).is_dir() or any(
        f"/{folder}/" in f"/{file.as_posix()}" for file in all_files()
    )
    return None if found or folder in all_text() else "no such folder"


def _no_command(text: str) -> str | None:
    context, command = typer.Context(_commands()), _commands()
    for word in text.split()[1:]:
        if not hasattr(command, "list_commands") or not re.fullmatch(r"[a-z][a-z-]*", word):
            break
        command = command.get_command(context, word)
        if command is None:
            return f"no command {word!r}"
    known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    wrong = [option for option in re.findall(r"--[a-z][a-z-]*", text) if option not in known]
    if wrong and not hasattr(command, "list_commands"):
        return f"no option {wrong[0]}"
    return None


def _no_target(text: str) -> str | None:
    target = text.split()[1]
    return None if f"\n{target}:" in Path("Makefile").read_text("utf-8") else "no such target"


def _no_setting(text: str) -> str | None:
    name = text.split("=")[0].removesuffix("*")
    known = _settings()
    if text.endswith("*") or name.endswith("_"):
        return None if any(setting.startswith(name) for setting in known) else "no such settings"
    return None if name in known else "no such setting"


def _no_option(text: str) -> str | None:
    name = re.split(r"[ =]", text)[0]
    return None if name in _options() or name in all_text() else "no such option"


def _no_test(text: str) -> str | None:
    known = f"def {text}(" in all_tests() or _no_file(text + ".py") is None
    return None if known else "no such test"


def _no_dotted(text: str) -> str | None:
    first, *rest = text.split(".")
    if first in PACKAGES:
        of_others = (
            f"package {text}" in all_text() or f"COLUMN ai_orchestrator.{text} " in all_text()
        )
        return None if of_others or _is_message(text) else _no_part(text)
    if first in _classes():
        return _no_member(first, rest[0])
    return None if text in all_text() or text.split(".")[-1] in all_words() else "found nowhere"


def _no_part(text: str) -> str | None:
    """A module, or what a module defines."""
    parts = text.split(".")
    for length in range(len(parts), 0, -1):
        base = Path(*parts[:length])
        file = base.with_suffix(".py")
        if file.is_file():
            rest = parts[length:]
            if rest and rest[0] not in _defined_in(file):
                return f"{file} has no {rest[0]}"
            return _no_member(*rest[:2]) if len(rest) > 1 and rest[0] in _classes() else None
        if base.is_dir():
            rest = parts[length:]
            found = not rest or rest[0] in _exported_by(base)
            return None if found else f"{base} has no {rest[0]}"
    return "no such module"


def _exported_by(package: Path) -> frozenset[str]:
    init = package / "__init__.py"
    return _defined_in(init) if init.is_file() else frozenset()


def _no_member(class_: str, member: str) -> str | None:
    return None if member in _classes()[class_] else f"{class_} has no {member}"


def _is_message(text: str) -> bool:
    """Whether it is a message or a service of a proto file, with its package."""
    package, _, name = text.rpartition(".")
    known = name in _classes() or name in _messages()
    return known and f"package {package};" in all_text()


def _no_word(text: str) -> str | None:
    if text.endswith("_"):
        return None if any(word.startswith(text) for word in all_words()) else "found nowhere"
    return None if text in all_words() else "found nowhere"


def _no_call(text: str) -> str | None:
    name = text.split("(")[0]
    return _no_dotted(name) if "." in name else _no_word(name)


_KINDS: tuple[tuple[re.Pattern[str], Callable[[str], str | None]], ...] = (
    (re.compile(r"orchestrator( .*)?"), _no_command),
    (re.compile(r"make [a-z-]+.*"), _no_target),
    (re.compile(r"ORCH_[A-Z_]+\*?(=.*)?"), _no_setting),
    (re.compile(r"--[a-z][a-z-]*( .*|=.*)?"), _no_option),
    (re.compile(r"test_\w+"), _no_test),
    (_FILE, _no_file),
    (_FOLDER, _no_folder),
    (re.compile(r"[\w.]+\(.*\)"), _no_call),
    (_DOTTED, _no_dotted),
    (_IDENTIFIER, _no_word),
)


@cache
def _messages() -> frozenset[str]:
    declared = re.findall(r"^(?:message|service|enum) (\w+) ", all_text(), re.MULTILINE)
    return frozenset(declared)


@cache
def _commands() -> Any:
    return typer.main.get_command(app)


@cache
def _options() -> frozenset[str]:
    found: set[str] = set()

    def collect(command: Any) -> None:
        found.update(name for parameter in command.params for name in parameter.opts)
        context = typer.Context(command)
        for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
            collect(command.get_command(context, name))

    collect(_commands())
    return frozenset(found)


@cache
def _settings() -> frozenset[str]:
    hints = get_type_hints(Settings)
    settings = (
        f"ORCH_{group.name}_{item.name}".upper()
        for group in fields(Settings)
        for item in fields(hints[group.name])
    )
    return frozenset((*settings, CONFIG))


@cache
def _defined_in(path: Path) -> frozenset[str]:
    return frozenset(_names_of(ast.parse(path.read_text("utf-8"))))


@cache
def _classes() -> dict[str, frozenset[str]]:
    """What each of our classes has by itself or from our classes."""
    found: dict[str, set[str]] = {}
    for path in python_files():
        for node in _defined_classes(ast.parse(path.read_text("utf-8"))):
            members = found.setdefault(node.name, set())
            members |= _names_of(node)
            members |= {ast.unparse(base).split("[")[0] for base in node.bases}
    return {name: frozenset(_with_bases(name, found, ())) for name, found_ in found.items()}


def _defined_classes(node: ast.Module | ast.ClassDef) -> Iterator[ast.ClassDef]:
    """The classes of a module, and those inside of them; a page names none of a function."""
    for child in node.body:
        if isinstance(child, ast.ClassDef):
            yield child
            yield from _defined_classes(child)


def _names_of(node: ast.AST) -> set[str]:
    """What a module or a class gives a name to: without the local names of functions."""
    names: set[str] = set()
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names |= {name, *_attributes_of_self(child)}
            case ast.ClassDef(name=name):
                names |= {name, *_names_of(child)}
            case ast.ImportFrom(names=imported):
                names.update(one.asname or one.name for one in imported)
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case _:
                names |= _names_of(child)
    return names


def _attributes_of_self(function: ast.AST) -> Iterator[str]:
    for node in ast.walk(function):
        match node:
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                yield name


def _with_bases(name: str, classes: dict[str, set[str]], seen: tuple[str, ...]) -> set[str]:
    members = set(classes[name])
    for base in [member for member in members if member in classes and member not in (name, *seen)]:
        members |= _with_bases(base, classes, (*seen, name))
    return members
