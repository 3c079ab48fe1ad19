"""What each Postgres error means for a write: wait, write the rows apart, or stop. Pure.

Source: PostgreSQL 18, appendix A, "PostgreSQL Error Codes". Every class of that appendix has a
row here. A code has a row of its own if its class holds errors of several kinds.
"""

from enum import Enum, auto
from typing import NamedTuple


class Policy(Enum):
    """What to do after an error. Nothing of the batch was written."""

    WAIT = auto()
    """Postgres is down or busy: pause, and write the same batch again."""
    WAIT_FOR_LOCK = auto()
    """As WAIT; batches that do not need the lock can be written meanwhile."""
    WAIT_FOR_A_PERSON = auto()
    """Every row would be refused until an operator changes something in Postgres. Pause, log the
    reason, and write the same batch again: the writer goes on by itself after that change."""
    WAIT_FOR_TABLES = auto()
    """Something of the schema is not there: a restore drops and makes it while we run. As
    WAIT_FOR_A_PERSON, and the migrations are compared again before the next write."""
    ISOLATE = auto()
    """A row may be at fault: write the rows one by one."""
    STOP = auto()
    """Program and schema do not fit: end the process with advice for the operator."""


class Rule(NamedTuple):
    """The policy of a class or of a code, and its reason."""

    policy: Policy
    reason: str


_A_BUG = "a statement of this program is wrong: report it"
_MIGRATE = "the schema is not the one of this program: run `orchestrator migrate up`"
_RESTORED = "wait for the restore that runs; without one, run `orchestrator migrate up`"
_RIGHTS = "the account lacks a right: `orchestrator doctor` lists all that are missing"
_A_FUNCTION = "a function or trigger that somebody added to the tables raises"

CLASSES: dict[str, Rule] = {
    "00": Rule(Policy.STOP, "a success is not an error: report it"),
    "01": Rule(Policy.STOP, "a warning is not an error: report it"),
    "02": Rule(Policy.STOP, "no data is not an error: report it"),
    "03": Rule(Policy.STOP, _A_BUG),
    "08": Rule(Policy.WAIT, "the connection broke"),
    "09": Rule(Policy.ISOLATE, _A_FUNCTION),
    "0A": Rule(Policy.WAIT_FOR_A_PERSON, "the tables were changed under a prepared statement"),
    "0B": Rule(Policy.STOP, _A_BUG),
    "0F": Rule(Policy.STOP, _A_BUG),
    "0L": Rule(Policy.WAIT_FOR_A_PERSON, "a right was granted by an account that lost it"),
    "0P": Rule(Policy.WAIT_FOR_A_PERSON, "the account's role does not exist"),
    "0Z": Rule(Policy.ISOLATE, _A_FUNCTION),
    "10": Rule(Policy.ISOLATE, "an XQuery of a function that somebody added is wrong"),
    "20": Rule(Policy.ISOLATE, _A_FUNCTION),
    "21": Rule(Policy.STOP, _A_BUG),
    "22": Rule(Policy.ISOLATE, "a value does not fit its column"),
    "23": Rule(Policy.ISOLATE, "a row breaks a constraint"),
    "24": Rule(Policy.STOP, _A_BUG),
    "25": Rule(Policy.STOP, _A_BUG),
    "26": Rule(Policy.STOP, "prepared statements do not last: a pooler must be in session mode"),
    "27": Rule(Policy.ISOLATE, _A_FUNCTION),
    "28": Rule(Policy.WAIT_FOR_A_PERSON, "the account or its password is refused"),
    "2B": Rule(Policy.STOP, _A_BUG),
    "2D": Rule(Policy.STOP, _A_BUG),
    "2F": Rule(Policy.ISOLATE, _A_FUNCTION),
    "34": Rule(Policy.STOP, _A_BUG),
    "38": Rule(Policy.ISOLATE, _A_FUNCTION),
    "39": Rule(Policy.ISOLATE, _A_FUNCTION),
    "3B": Rule(Policy.STOP, _A_BUG),
    "3D": Rule(Policy.WAIT_FOR_A_PERSON, "the database does not exist"),
    "3F": Rule(Policy.WAIT_FOR_TABLES, _RESTORED),
    "40": Rule(Policy.WAIT, "the transaction lost against another one"),
    "42": Rule(Policy.STOP, _MIGRATE),
    "44": Rule(Policy.ISOLATE, "a row is outside of the view that somebody put before a table"),
    "53": Rule(Policy.WAIT, "the server lacks disk, memory or connections"),
    "54": Rule(Policy.ISOLATE, "a row is larger than a limit of Postgres"),
    "55": Rule(Policy.STOP, _A_BUG),
    "57": Rule(Policy.WAIT, "an operator, a shutdown or a timeout ended the statement"),
    "58": Rule(Policy.WAIT_FOR_A_PERSON, "a file of the server is missing or unreadable"),
    "72": Rule(Policy.WAIT, "the transaction's snapshot became too old"),
    "F0": Rule(Policy.WAIT_FOR_A_PERSON, "the server's configuration file is wrong"),
    "HV": Rule(Policy.WAIT_FOR_A_PERSON, "a foreign table that somebody put in is refused"),
    "P0": Rule(Policy.ISOLATE, _A_FUNCTION),
    "XX": Rule(Policy.ISOLATE, "Postgres failed in itself"),
}
"""By the first two characters."""

CODES: dict[str, Rule] = {
    "25006": Rule(Policy.WAIT, "the server is a standby, until it is promoted"),
    "25P03": Rule(Policy.WAIT, "the transaction was idle for too long"),
    "25P04": Rule(Policy.WAIT, "the transaction took too long"),
    "42501": Rule(
        Policy.WAIT_FOR_A_PERSON,
        _RIGHTS,
    ),
    "42704": Rule(Policy.WAIT_FOR_TABLES, _RESTORED),
    "42883": Rule(Policy.WAIT_FOR_TABLES, _RESTORED),
    # A dump makes the keys of the tables last of all.
    "42P10": Rule(Policy.WAIT_FOR_TABLES, _RESTORED),
    "42P01": Rule(Policy.WAIT_FOR_TABLES, _RESTORED),
    "42804": Rule(Policy.WAIT_FOR_A_PERSON, "the type of a column was changed: change it back"),
    "428C9": Rule(Policy.WAIT_FOR_A_PERSON, "a column was made GENERATED ALWAYS: change it back"),
    "42P07": Rule(Policy.WAIT_FOR_A_PERSON, "a table has the name of a month's partition"),
    "55000": Rule(Policy.WAIT_FOR_A_PERSON, "the database takes no connections or writes now"),
    "55P03": Rule(Policy.WAIT_FOR_LOCK, "another session holds a lock"),
    "57P04": Rule(Policy.WAIT_FOR_A_PERSON, "the database was dropped"),
    "58030": Rule(Policy.WAIT, "I/O below the server failed"),
    "XX001": Rule(Policy.WAIT_FOR_A_PERSON, "data are corrupt"),
    "XX002": Rule(Policy.WAIT_FOR_A_PERSON, "an index is corrupt: REINDEX"),
}
"""By the whole code; these win over their class."""

_UNKNOWN = Rule(Policy.ISOLATE, "a function or an extension raises a code of its own")


def rule_of(sqlstate: str) -> Rule:
    """What to do after an error with this code.

    A code outside of the appendix's classes comes from a function or an extension that was
    added: a row may be at fault.
    """
    return CODES.get(sqlstate) or CLASSES.get(sqlstate[:2]) or _UNKNOWN
