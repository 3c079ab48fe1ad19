"""What the calls of an attempt consumed without giving its answer."""

from __future__ import annotations

from collections import deque

import msgspec

from schemas.records import StepResult, SubStep, Usage
from tasks.clean import added

_KEPT_MAX = 16
"""Calls that are kept one by one; a throttled attempt may make many. Their sum has all of them."""


class Spent:
    """Collects the calls of one attempt that were cancelled, failed, or were followed by others."""

    def __init__(self) -> None:
        self._usage: Usage | None = None
        self._calls: deque[SubStep] = deque(maxlen=_KEPT_MAX)

    def add(self, call: SubStep) -> None:
        """Take a call."""
        self._calls.append(call)
        if call.usage is not None:
            self._usage = call.usage if self._usage is None else added(self._usage, call.usage)

    @property
    def usage(self) -> Usage | None:
        """The sum; None: nothing was consumed, as far as is known."""
        return self._usage

    def with_result(self, result: StepResult) -> StepResult:
        """The result of the attempt with all that it consumed."""
        if not self._calls:
            return result
        usage = result.usage if self._usage is None else added(self._usage, result.usage)
        return msgspec.structs.replace(
            result, usage=usage, substeps=[*self._calls, *result.substeps]
        )
