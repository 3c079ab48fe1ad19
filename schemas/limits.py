"""Size limits in one place, so that admission, the rules and the workers agree."""

import re
from dataclasses import dataclass

ID_PATTERN = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
"""The pattern of a whole id: safe in a path, a header, a log line and a SQL column."""

PRIORITY_MIN = 0
PRIORITY_MAX = 10

JSON_DEPTH_MAX = 64
"""Nesting of a JSON document. Far below Python's recursion limit and Postgres' stack depth."""


EVENT_MAX_BYTES = 4 * 1024 * 1024
"""The default of ``Limits.event_max_bytes``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """``ORCH_LIMITS_<FIELD>``. All sizes are bytes of UTF-8, inclusive.

    Every process of one system must run with the same values: a worker that allows more
    than the router accepts fails steps that it has already paid for.
    """

    task_input_max_bytes: int = 256 * 1024
    """A task whose input or metadata is larger is refused, as a dead letter or over the API."""

    step_input_max_bytes: int = 256 * 1024
    """A step whose built input is larger fails with ``STEP_INPUT_TOO_LARGE``."""

    step_output_max_bytes: int = 256 * 1024
    """A step whose output is larger fails with ``OUTPUT_TOO_LARGE``."""

    record_max_bytes: int = 1024 * 1024
    """A larger value in a topic that upstream services or step workers write becomes a dead letter
    without being read."""

    event_max_bytes: int = EVENT_MAX_BYTES
    """Upper bound of ``task-events``, ``task-state`` and ``dlq.*`` (``max.message.bytes``)."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.event_max_bytes < 4 * self.record_max_bytes:
            raise ValueError("event_max_bytes must be at least 4 times record_max_bytes")
