"""docs/configuration.md: fresh, with every setting, and each of its rows stands alone."""

import re
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import pytest

from orchestrator.configuration.load import process_settings
from orchestrator.configuration.page import FILE, settings, text
from orchestrator.settings import Settings, load_settings
from tests.commands import run_command

PAGE = Path(FILE).read_text("utf-8")
ROWS = [row for rows in settings().values() for row in rows]


def test_the_page_is_what_the_settings_classes_say_today() -> None:
    assert text() == PAGE, "stale: run `make configuration`"


def test_every_field_of_every_group_has_its_row() -> None:
    shown = re.findall(r"^\| `(ORCH_\w+)`", PAGE, re.MULTILINE)
    hints = get_type_hints(Settings)
    wanted = [
        f"ORCH_{group.name}_{item.name}".upper()
        for group in fields(Settings)
        for item in fields(hints[group.name])
    ]

    assert shown == wanted


@pytest.mark.parametrize("row", ROWS, ids=[row.variable for row in ROWS])
def test_a_row_stands_alone(row: object) -> None:
    meaning = str(getattr(row, "meaning", ""))

    assert re.fullmatch(r"[`A-Z0-9].{15,}\.", meaning), meaning
    assert not meaning.startswith(("As ", "The same", "See "))


def test_the_defaults_of_the_page_are_the_defaults() -> None:
    given = {row.variable: row.default for row in ROWS if row.default}

    assert load_settings(given) == load_settings({})


def test_the_file_of_the_page_is_accepted(tmp_path: Path) -> None:
    text = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert text is not None
    (tmp_path / "dsn").write_text("postgres://u:p@h/d\n")
    shown = text[1].replace("/run/secrets/dsn", "dsn")
    (tmp_path / "config.yaml").write_text(shown)
    # A password needs a protocol that logs in.
    environment = {
        "ORCH_CONFIG": str(tmp_path / "config.yaml"),
        "KAFKA_PASSWORD": "s3cret",
        "ORCH_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "ORCH_KAFKA_USERNAME": "orch",
    }
    found = process_settings(environment)
    assert found.kafka.password == "s3cret"
    assert found.postgres.dsn == "postgres://u:p@h/d"


def test_the_commands_of_the_page_run() -> None:
    commands = re.findall(r"^orchestrator (config [^#\n]+)", PAGE, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        ended = run_command(command.split(), {})
        assert ended.status == 0, ended.err
