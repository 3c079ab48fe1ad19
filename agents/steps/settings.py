"""Settings of the step workers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """``ORCH_WORKER_<FIELD>``."""

    slots: int = 64
    """Calls in flight of one process. Limits its memory, and the load on its service. The
    last free slot is kept for commands of high priority."""

    buffered_max: int = 1_000
    """Commands that were read and wait for a slot. A lane that holds a third of them is not
    read."""

    patience_s: float = 30.0
    """A lane whose oldest command waits longer than this in the buffer gets as many slots as
    the high lane. Longer: low priority waits longer under load."""

    started_after_ms: int = 20
    """A call that runs longer is reported as started; a shorter call costs no extra record."""

    drain_s: float = 20.0
    """After SIGTERM the calls in flight may run for this time; the rest is aborted and run
    again elsewhere. Wait at least 10 s longer before you kill the process."""

    answers_max: int = 100_000
    """Results that are kept for second copies of their commands, which then cost no second call."""

    answers_max_bytes: int = 64 * 1024 * 1024
    """Memory for the results that ``answers_max`` counts. A low value costs calls, never
    correctness."""

    cancels_max: int = 100_000
    """Cancelled tasks that are remembered, for commands that come after their cancellation.
    Each takes about 500 bytes, for at most 24 h."""

    def __post_init__(self) -> None:
        for name in ("slots", "answers_max", "answers_max_bytes", "cancels_max"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.buffered_max < 3:
            raise ValueError(f"buffered_max is {self.buffered_max}; it must be at least 3")
        for name in ("started_after_ms", "patience_s", "drain_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")
