"""Migration files: their form, and which of them are still to be applied. Pure.

The form is dbmate's: ``-- migrate:up`` and ``-- migrate:down``, each followed by SQL. Names
are ``NNNN_pre_...sql`` (runs before the new code is deployed) or ``NNNN_post_...sql``
(after it). A file that was applied anywhere never changes; a new file corrects it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from itertools import pairwise

from sinks.errors import MigrationError

_NAME = re.compile(r"\d{4}_(pre|post)_[a-z0-9_]+\.sql")
_SECTION = re.compile(r"^-- migrate:(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One file."""

    name: str
    up: str
    """SQL, one transaction."""
    down: str
    """SQL that undoes it; an operator runs it by hand."""
    checksum: str
    """SHA-256 of the whole file, hexadecimal."""

    @property
    def after_deployment(self) -> bool:
        """Whether it is a ``post`` file."""
        return self.name[4:].startswith("_post_")


def load_migrations() -> list[Migration]:
    """The files of this package, in their order."""
    found = [
        parse(file.name, file.read_text(encoding="utf-8"))
        for file in files("sinks").joinpath("migrations").iterdir()
        if file.name.endswith(".sql")
    ]
    return in_order(found)


def parse(name: str, text: str) -> Migration:
    """Read one file.

    Raises:
        MigrationError: the name or the form is wrong. Options after ``migrate:up`` (such as
            ``transaction:false``) are refused: every file here is one transaction.
    """
    if not _NAME.fullmatch(name):
        raise MigrationError(f"{name}: the name is not NNNN_pre_....sql or NNNN_post_....sql")
    _, *sections = _SECTION.split(text)
    if [section.strip() for section in sections[::2]] != ["up", "down"]:
        raise MigrationError(f"{name}: needs '-- migrate:up', then '-- migrate:down'")
    up, down = (section.strip() for section in sections[1::2])
    if not up or not down:
        raise MigrationError(f"{name}: a section is empty")
    return Migration(name=name, up=up, down=down, checksum=sha256(text.encode()).hexdigest())


def in_order(migrations: Sequence[Migration]) -> list[Migration]:
    """Sort by number.

    Raises:
        MigrationError: two files have one number.
    """
    ordered = sorted(migrations, key=lambda migration: migration.name)
    for left, right in pairwise(ordered):
        if left.name[:4] == right.name[:4]:
            raise MigrationError(f"{left.name} and {right.name} have the same number")
    return ordered


def of_phase(migrations: Sequence[Migration], *, before_deployment: bool) -> list[Migration]:
    """The files that are applied in one phase of an upgrade, of those in ``migrations``.

    Before the new version is deployed, the ``post`` files at the end are left: processes of the
    version before still need what they remove. Those with a later ``pre`` file are of an earlier
    version, whose upgrade is over. Afterwards all files are applied.
    """
    if not before_deployment:
        return list(migrations)
    last = max((n for n, m in enumerate(migrations) if not m.after_deployment), default=-1)
    return list(migrations[: last + 1])


def pending(migrations: Sequence[Migration], applied: Mapping[str, str]) -> list[Migration]:
    """The migrations that are not applied yet, in order.

    Args:
        migrations: the files of this program.
        applied: name to checksum, from the database. A name that this program does not know
            belongs to a newer program, and is ignored.

    Raises:
        MigrationError: an applied file has changed since; the message names it.
    """
    for migration in migrations:
        if applied.get(migration.name, migration.checksum) != migration.checksum:
            raise MigrationError(f"{migration.name} has changed since it was applied")
    return [migration for migration in migrations if migration.name not in applied]
