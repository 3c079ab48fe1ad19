"""Strangers' text in lines of logs, of ``orchestrator dev``, of ``env`` and of ``dlq tail``."""

import ast
import io
import json
import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from rich.console import Console

from orchestrator.cli.dlq.show import print_letter
from orchestrator.cli.env import Format, rendered
from orchestrator.cli.output import Output
from orchestrator.local.dev.notices import Terminal
from orchestrator.local.dev.showing import show_letter
from orchestrator.logs import LogSettings, set_up_logs
from schemas.dead_letter import Origin
from schemas.errors import SettingsError
from tests.foreign.texts import EVIL, LONG
from tests.letters.building import a_case

PRINTERS = {"orchestrator/cli/output.py", "orchestrator/cli/app.py", "orchestrator/cli/env.py"}
"""The places that may print: all others hand their text to ``output.py``."""


def is_safe(text: str) -> bool:
    return "\N{BUG}" not in text and all(c.isprintable() or c in "\n\t" for c in text)


@pytest.fixture
def _logs_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before, handlers, level = structlog.get_config(), root.handlers[:], root.level
    yield
    structlog.configure(**before)
    structlog.contextvars.clear_contextvars()
    root.handlers[:], root.level = handlers, level


@pytest.mark.usefixtures("_logs_as_before")
@pytest.mark.parametrize("form", ["json", "console"])
def test_a_log_line_holds_no_control_characters(
    capsys: pytest.CaptureFixture[str], form: str
) -> None:
    set_up_logs(LogSettings(format=form), role="test")
    structlog.get_logger("ours").warning("task_failed", reason=EVIL, tenant=LONG, **{EVIL: 1})
    logging.getLogger("a library").warning("%s", EVIL)
    printed = capsys.readouterr().err

    assert is_safe(printed)
    if form == "json":
        first, second = map(json.loads, printed.splitlines())
        assert (first["reason"], second["event"]) == (EVIL, EVIL)


def test_the_lines_of_dev_show_text_as_it_is() -> None:
    out = io.StringIO()
    terminal = Terminal(Console(file=out, force_terminal=False))
    terminal.line(EVIL)
    terminal.notice(LONG)
    headers = tuple((f"__dlq.errors.{n}", EVIL.encode()) for n in ("code", "stage", "message"))
    letter = Origin(
        topic="t", partition=0, offset=0, timestamp_ms=0, key=b"", value=b"\x1b", headers=headers
    )
    show_letter(terminal.console, letter)

    assert is_safe(out.getvalue())
    assert "[/x][bold]:bug:" in out.getvalue()


@pytest.mark.parametrize("output", [Output.TABLE, Output.JSON])
def test_a_new_letter_is_one_safe_line(capsys: pytest.CaptureFixture[str], output: Output) -> None:
    print_letter(a_case(tenant_id=EVIL, code=LONG, task_id=EVIL, step=EVIL), output)
    printed = capsys.readouterr().out

    assert is_safe(printed)
    assert printed.count("\n") == 1


def test_variables_keep_their_values_without_showing_control_characters() -> None:
    variables = {"ORCH_A": EVIL, "ORCH_B": "plain 'text' $x"}
    shell, compose = rendered(variables, Format.SHELL), rendered(variables, Format.COMPOSE)
    script = f'{shell}\nprintf "%s|%s" "$ORCH_A" "$ORCH_B"'
    seen = subprocess.check_output(["sh", "-c", script], timeout=20)

    assert seen.decode() == f"{EVIL}|plain 'text' $x"
    assert is_safe(shell)
    assert is_safe(compose)
    with pytest.raises(SettingsError, match="ORCH_A has a character"):
        rendered(variables, Format.DOTENV)


def test_commands_print_through_one_module_only() -> None:
    found = [
        f"{file}:{node.lineno}"
        for file in Path("orchestrator/cli").rglob("*.py")
        if str(file) not in PRINTERS
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and (
            (isinstance(node.func, ast.Name) and node.func.id == "print")
            or (isinstance(node.func, ast.Attribute) and node.func.attr in ("echo", "secho"))
        )
    ]

    assert found == []
