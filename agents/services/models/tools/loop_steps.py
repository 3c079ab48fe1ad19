"""What an attempt with tools has done and consumed so far."""

from __future__ import annotations

import msgspec

from schemas.records import SubStep, Usage
from tasks.clean import added


class LoopSteps:
    """The substeps of one attempt, in their order: answers, calls of tools, and what failed."""

    def __init__(self) -> None:
        self.substeps: list[SubStep] = []

    def add(self, substep: SubStep) -> None:
        """Take the next one."""
        self.substeps.append(substep)

    def usage(self, model: str) -> Usage:
        """The sum of all of them, under the name of a model."""
        total = Usage(estimated=False)
        for substep in self.substeps:
            total = added(total, substep.usage)
        return msgspec.structs.replace(total, model=model)
