"""What a caller may do, and what each operation needs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Right(StrEnum):
    """A right of a key or a token."""

    READ = "read"
    """Get, list, count, wait and watch."""

    WRITE = "write"
    """Create tasks, give commands, and replay, edit and discard the tenant's own dead letters."""

    OPERATE = "operate"
    """Read and change the dead letters of all tenants, also those without a known tenant, and edit
    what the system itself wrote. Only a key of all tenants has it."""


TENANT_SCOPES = frozenset({Right.READ, Right.WRITE})
ALL_SCOPES = frozenset(Right)


@dataclass(frozen=True, slots=True)
class Need:
    """What an operation needs of its caller."""

    scope: Right
    of_letters: bool = False
    """True for dead letters: ``operate`` suffices, and an operator need not name a tenant."""


READ = Need(Right.READ)
WRITE = Need(Right.WRITE)
READ_LETTERS = Need(Right.READ, of_letters=True)
WRITE_LETTERS = Need(Right.WRITE, of_letters=True)
