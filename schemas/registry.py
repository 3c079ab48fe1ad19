"""The committed schemas: every version of every record, with its fixed id.

``avro/<Record>.avsc`` is the current version, ``avro/history/<Record>.<n>.avsc`` is every
version that was ever published, and ``avro/lock.json`` gives each published version its id and
the hash of its file. Published versions never change; a new one gets the next free id.
"""

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

AVRO_DIR = files("schemas") / "avro"


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaVersion:
    """One published version of one record."""

    record: str
    version: int
    """From 1, per record."""
    id: int
    """Unique over all records: the number in the five-byte header of a value."""
    text: str
    """The ``.avsc`` file, as published."""
    written: bool = True
    """False: this program reads the version, and still writes the one before. A release between
    two others learns to read what the next one will write, so that both run beside each other."""

    @property
    def schema(self) -> dict[str, Any]:
        """The parsed Avro schema."""
        return dict(json.loads(self.text))


def load_versions() -> list[SchemaVersion]:
    """Read all published versions, oldest first within a record.

    Raises:
        ValueError: a file differs from its hash in the lock: a published version was
            changed. Revert the change and add a new version instead.
    """
    lock: dict[str, list[dict[str, Any]]] = json.loads((AVRO_DIR / "lock.json").read_text("utf-8"))
    return [_load(record, entry) for record, entries in lock.items() for entry in entries]


def current_text(record: str) -> str:
    """The ``.avsc`` text of the current version of a record."""
    return (AVRO_DIR / f"{record}.avsc").read_text("utf-8")


def _load(record: str, entry: dict[str, Any]) -> SchemaVersion:
    name = f"{record}.{entry['version']}.avsc"
    text = (AVRO_DIR / "history" / name).read_text("utf-8")
    if hashlib.sha256(text.encode()).hexdigest() != entry["sha256"]:
        raise ValueError(f"schemas/avro/history/{name} is not the version that was published")
    return SchemaVersion(
        record=record,
        version=entry["version"],
        id=entry["id"],
        text=text,
        written=entry.get("written", True),
    )
