"""All commands are alike: help, output, times, who did it, and what a wrong argument ends with."""

import inspect
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer

from orchestrator.cli import arguments
from orchestrator.cli.app import app
from orchestrator.cli.options import ActorOption, SinceOption, UntilOption
from orchestrator.cli.output import Output
from tests.commands import run_command

NOWHERE = {
    "ORCH_KAFKA_BOOTSTRAP": "127.0.0.1:1",
    "ORCH_POSTGRES_DSN": "postgresql://user:secret-word@127.0.0.1:1/db",
}


def leaves(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    context = typer.Context(command)
    if not hasattr(command, "list_commands"):
        yield " ".join(path), command
        return
    for name in command.list_commands(context):
        yield from leaves(command.get_command(context, name), (*path, name))


COMMANDS = dict(leaves(typer.main.get_command(app), ()))
OPTIONS = {
    f"{name} {parameter.opts[0]}": parameter
    for name, command in COMMANDS.items()
    for parameter in command.params
    if not getattr(parameter, "hidden", False)
}
PRINTING = [
    *(f"task {name}" for name in ("create", "get", "list", "watch")),
    *(f"task {name}" for name in ("execute", "cancel", "retry", "set-priority")),
    *(f"dlq {name}" for name in ("list", "stats", "show", "tail", "replay", "edit")),
    *(f"dlq {name}" for name in ("discard", "export", "import")),
    *(f"pipelines {name}" for name in ("list", "show", "validate")),
    *(f"sink {name}" for name in ("rebuild", "verify", "retention")),
    *(
        "migrate up",
        "migrate status",
        "usage",
        "tail",
        "doctor",
        *("keys new", "keys list", "keys revoke"),
        "status",
        "topics list",
        "topics plan-growth",
    ),
]


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_and_argument_says_what_it_is_in_a_sentence(name: str) -> None:
    text = OPTIONS[name].help or ""

    assert re.fullmatch(r"\S.{6,}\.", text, re.DOTALL), f"{name}: {text!r}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does_in_a_sentence(name: str) -> None:
    first = inspect.cleandoc(COMMANDS[name].help).split("\n\n")[0]

    assert re.fullmatch(r"[A-Z].*\.", first, re.DOTALL), first


@pytest.mark.parametrize("name", PRINTING)
def test_every_command_that_prints_data_has_the_same_forms(name: str) -> None:
    [option] = [p for p in COMMANDS[name].params if "-o" in p.opts]

    assert option.type_descriptor.annotation is Output
    assert set(option.opts) == {"-o", "--output"}


def test_options_of_one_name_mean_one_thing() -> None:
    since, until, actor = map(_declared, (SinceOption, UntilOption, ActorOption))

    assert since.parser is until.parser is arguments.time
    for key, option in OPTIONS.items():
        if key.rsplit(" ", 1)[1] in ("--since", "--until"):
            assert option.metavar == "TIME", key
        if key.rsplit(" ", 1)[1] == "--actor" and not key.startswith(("task", "topics")):
            assert option.help == actor.help, key


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("dlq", "list", "--since", "yesterday"), "is not a time like 30m"),
        (("dlq", "list", "-o", "xml"), "xml"),
        (("dlq", "list", "--status", "opne"), "must be one of open, replaying"),
        (("dlq", "stats", "--by", "colour"), "must be one of"),
        (("dlq", "replay"), "nothing chooses the letters"),
        (("dlq", "replay", "short"), "is too short"),
        (("dlq", "replay", "--all", "--execute"), "needs --reason"),
        (("dlq", "edit", "0123456789", "--execute"), "needs --reason"),
        (("dlq", "discard", "--execute", "--reason", "why"), "nothing chooses the letters"),
        (("dlq", "import", "pyproject.toml"), "is not an exported dead letter"),
        (("tail", "nowhere"), "there is no topic"),
        (("tail", "task-events", "--until", "5 o'clock"), "is not a time like"),
        (("keys", "new", "a b"), "TENANT must match"),
        (("pipelines", "show", "rag@x"), "is not a version"),
        (("sink", "retention", "--older-than", "30m"), "must be days"),
        (("worker", "painter"), "there is no role"),
        (("task", "list", "--server", "nowhere"), "--server"),
        (("task", "list", "--since", "soon"), "is not a time like"),
        (("usage", "--until", "soon"), "is not a time like"),
        (("nonsense",), "nonsense"),
    ],
)
def test_a_wrong_argument_of_any_command_is_a_sentence_and_status_2(
    arguments: tuple[str, ...], sentence: str
) -> None:
    ended = run_command(arguments, NOWHERE)

    assert (ended.status, ended.out) == (2, "")
    assert sentence in " ".join(ended.err.split())
    assert "secret-word" not in ended.err


def test_the_version_is_that_of_the_package() -> None:
    assert run_command(["--version"], {}).out == f"orchestrator {version('ai-orchestrator')}\n"


def test_a_new_key_is_printed_as_json() -> None:
    made = run_command(["keys", "new", "acme", "-o", "json"], {}).document

    assert set(made) == {"tenant", "key", "setting"}
    assert made["setting"].startswith("acme:")
    assert made["key"] not in made["setting"]


@pytest.mark.parametrize(("typed", "wanted"), [("tas", "task"), ("task can", "cancel")])
def test_a_shell_completes_commands(typed: str, wanted: str) -> None:
    ended = subprocess.run(
        [Path(sys.executable).parent / "orchestrator"],
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("ORCH_")},
            "_ORCHESTRATOR_COMPLETE": "complete_bash",
            "COMP_WORDS": f"orchestrator {typed}",
            "COMP_CWORD": str(len(typed.split())),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert wanted in ended.stdout.splitlines()


def test_a_list_fits_a_terminal_of_80_columns() -> None:
    terminal, other_end = pty.openpty()
    ended = subprocess.run(
        [sys.executable, "-m", "orchestrator", "pipelines", "list"],
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("ORCH_")},
            "COLUMNS": "80",
        },
        stdout=other_end,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    )
    os.close(other_end)
    lines = _read(terminal).splitlines()

    assert lines[0].split()[:2] == ["pipeline", "version"]
    assert max(map(len, lines)) <= 80
    assert ended.stderr == "columns left out: file; -o wide shows them\n"


def _declared(option: Any) -> Any:
    return option.__metadata__[0]


def _read(terminal: int) -> str:
    found = b""
    try:
        while piece := os.read(terminal, 65_536):
            found += piece
    except OSError:  # Linux says so when the other end is closed
        pass
    os.close(terminal)
    return found.decode().replace("\r\n", "\n")
