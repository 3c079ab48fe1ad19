"""docs/configuration.md: fresh, with every setting, and each of its rows stands alone."""

import re
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import pytest

from orchestrator.configuration.page import FILE, settings, text
from orchestrator.settings import Settings, load_settings

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
