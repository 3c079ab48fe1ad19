"""The possible decisions, and the rules that they depend on besides the state and the input."""

from dataclasses import dataclass, field

from msgspec import Struct

from schemas.limits import Limits
from schemas.records import TaskEvent
from tasks.pipeline import Pipelines

TIMEOUT_MAX_MS = 24 * 60 * 60 * 1000
"""The longest timeout of a task: states are kept at least this long after their end."""

_DAY_MS = 24 * 60 * 60 * 1000


class Accepted(Struct, frozen=True):
    """The input changes the task, or is refused with an answer in the log: append the event.

    The owner stamps ``owner`` and ``owner_epoch``; all other fields are final.
    """

    event: TaskEvent


class Ignored(Struct, frozen=True):
    """The input changes nothing and no caller waits for an answer: ack it."""

    reason: str
    """``snake_case``, stable: the label of a metric."""


class Rejected(Struct, frozen=True):
    """The input cannot be decided: dead-letter it with this code, then ack it."""

    code: str
    message: str


Decision = Accepted | Ignored | Rejected


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The data that decisions depend on; the same for every owner of one system."""

    pipelines: Pipelines
    limits: Limits = field(default_factory=Limits)
    default_timeout_ms: int = 300_000
    """The timeout in milliseconds of a task whose creator gives neither timeout nor deadline."""
    max_timeout_ms: int = TIMEOUT_MAX_MS
    """A longer timeout, or a deadline further away, is refused: ``TIMEOUT_OUT_OF_RANGE``.
    At most 24 h, the time for which ended tasks are remembered."""
    remember_ms: int = _DAY_MS
    """How long a completed task is remembered after its end, at least for the longest timeout.
    A second ``TaskCreated`` is recognized as a duplicate during this time."""
    remember_failed_ms: int = 30 * _DAY_MS
    """How long a failed or cancelled task is remembered after its end. It can be retried during
    this time, which equals the retention of its dead letters."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_timeout_ms <= TIMEOUT_MAX_MS:
            raise ValueError(f"max_timeout_ms must be 1..{TIMEOUT_MAX_MS}")
        if not 1 <= self.default_timeout_ms <= self.max_timeout_ms:
            raise ValueError("default_timeout_ms must be 1..max_timeout_ms")
        if not 0 <= self.remember_ms <= self.remember_failed_ms:
            raise ValueError("remember_ms must be 0..remember_failed_ms")
