"""The work measured: tasks of a pipeline of steps that do nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chains.raw import STEPS, output_of
from schemas.records import Json
from tasks.pipeline import Pipelines
from tasks.pipeline_file import load_pipelines

TYPE = "bench"
"""The type, and the tenant, of every task."""
SERVICES = {
    "noop": "python://benchmarks.noop:answer",
    "slow": "python://benchmarks.noop:answer_after_10_ms",
    "flaky": "python://benchmarks.noop:fail_once",
}
_PIPELINES = Path("benchmarks/pipelines")


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of task."""

    name: str
    tasks: int = 20_000
    """How many make a drain of some ten seconds."""
    payload_bytes: int = 256
    raw: bool = False
    """Whether the raw chain can do the same."""
    pipeline: str | None = None
    """The folder of its pipeline; None: that of its name."""

    @property
    def folder(self) -> Path:
        """Where its pipeline is."""
        return _PIPELINES / (self.pipeline or self.name)

    @property
    def pipelines(self) -> Pipelines:
        """Its pipeline, read from there."""
        return load_pipelines({p.name: p.read_text("utf-8") for p in self.folder.glob("*.yaml")})

    @property
    def input(self) -> Json:
        """A document of ``payload_bytes`` bytes."""
        return Json('{"payload":"' + "x" * (self.payload_bytes - 14) + '"}')

    @property
    def output(self) -> Json:
        """What a task of it ends with: the output of its last step, 256 bytes."""
        return output_of(STEPS[1])


TWO_STEPS = Work("two-steps", raw=True)
VARIANTS: Mapping[str, Work] = {
    work.name: work
    for work in (
        Work("one-step"),
        Work("five-steps", tasks=10_000),
        Work("ten-ms-steps"),
        Work("a-retry", tasks=10_000),
        Work("160-KB", tasks=500, payload_bytes=160_000, raw=True, pipeline="two-steps"),
    )
}
