"""Settings of the step workers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """``ORCH_WORKER_<FIELD>``."""

    slots: int = 64
    """Calls in flight of one process. Bounds its memory, and the load on its service."""

    started_after_ms: int = 20
    """A call that runs longer is reported as started; a shorter one costs no extra record."""

    def __post_init__(self) -> None:
        if self.slots < 1:
            raise ValueError(f"slots is {self.slots}; it must be at least 1")
        if self.started_after_ms < 0:
            raise ValueError(f"started_after_ms is {self.started_after_ms}; it must be positive")
