"""Copies of the tree that are one version further: a migration and a field of the log more."""

import hashlib
import json
from pathlib import Path

from tests.checker.defects.patches import copy_tree

MIGRATION = "9000_pre_add_remark.sql"
SCHEMA_ID = 9000
"""Of the version of `TaskEvent` with one more field."""
_SQL = """\
-- migrate:up
ALTER TABLE ai_orchestrator.tasks ADD COLUMN remark text;

-- migrate:down
ALTER TABLE ai_orchestrator.tasks DROP COLUMN remark;
"""
_LAST_FIELD = "    reason: str | None = None\n\n\nclass TaskState("


def make_next(tree: Path, *, written: bool) -> None:
    """Copy the tree and add the migration and the field, as CONTRIBUTING.md says.

    Args:
        tree: a folder that does not exist.
        written: whether this version writes the field, or only reads it.
    """
    copy_tree(tree)
    (tree / "sinks/migrations" / MIGRATION).write_text(_SQL, "utf-8")
    _add_version(tree / "schemas/avro", written=written)
    records = tree / "schemas/records.py"
    text = records.read_text("utf-8")
    assert text.count(_LAST_FIELD) == 1, "TaskEvent has another last field now"
    more = _LAST_FIELD.replace("\n\n\n", '\n    remark: str = "none"\n\n\n')
    records.write_text(text.replace(_LAST_FIELD, more), "utf-8")


def _add_version(avro: Path, *, written: bool) -> None:
    schema = json.loads((avro / "TaskEvent.avsc").read_text("utf-8"))
    schema["fields"].append({"name": "remark", "type": "string", "default": "none", "doc": "New."})
    text = json.dumps(schema, indent=2)
    lock = json.loads((avro / "lock.json").read_text("utf-8"))
    version = lock["TaskEvent"][-1]["version"] + 1
    lock["TaskEvent"].append(
        {
            "version": version,
            "id": SCHEMA_ID,
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "written": written,
        }
    )
    for name in ("TaskEvent.avsc", f"history/TaskEvent.{version}.avsc"):
        (avro / name).write_text(text, "utf-8")
    (avro / "lock.json").write_text(json.dumps(lock), "utf-8")
