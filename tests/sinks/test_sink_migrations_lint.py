"""Migrations are safe on a database in use: squawk, a linter for that, finds nothing."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sinks.schema.migration import load_migrations, parse

MEANT = {
    "prefer-bigint-over-int": "partitions, runs and counters of a task stay far below 2^31",
    "prefer-text-field": "the names of tenants and the like are limited where they come in",
    "require-lock-timeout": "the session that applies a migration has one (sinks.schema.migrate)",
    "require-statement-timeout": "its whole run has a limit, after which its connection is cut",
}
"""Rules that are broken on purpose, with the reason."""
FIRST_RELEASE = 13
"""Up to this file the tables are new when they get their indexes: no writer waits for them."""
OF_NEW_TABLES = ("require-concurrent-index-creation", "require-concurrent-index-deletion")


def findings(name: str, up: str, folder: Path) -> list[str]:
    """What squawk says about a file, without the rules that are broken on purpose."""
    file = folder / name
    file.write_text(up, "utf-8")
    excluded = [*MEANT, *(OF_NEW_TABLES if int(name[:4]) <= FIRST_RELEASE else [])]
    ended = subprocess.run(
        [
            str(Path(sys.executable).with_name("squawk")),
            *("--assume-in-transaction", "--pg-version", "15", "--reporter", "json"),
            *(f"--exclude={rule}" for rule in excluded),
            str(file),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    found: list[dict[str, Any]] = json.loads(ended.stdout or "[]")
    return [f"{one['rule_name']}: {one['message']}" for one in found]


@pytest.mark.parametrize("migration", load_migrations(), ids=lambda migration: migration.name)
def test_a_migration_is_safe_on_a_database_in_use(migration: Any, tmp_path: Path) -> None:
    assert findings(migration.name, migration.up, tmp_path) == []


def test_what_would_stop_writers_is_found(tmp_path: Path) -> None:
    up = "CREATE INDEX a ON ai_orchestrator.tasks (id);"
    bad = parse("0999_pre_index.sql", f"-- migrate:up\n{up}\n-- migrate:down\nSELECT 1;")

    assert OF_NEW_TABLES[0] in "".join(findings(bad.name, bad.up, tmp_path))
