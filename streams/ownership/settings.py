"""Settings of the router."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterSettings:
    """``ORCH_ROUTER_<FIELD>``. The same in every router of one system."""

    snapshot_interval_s: float = 10.0
    """How often changed tasks are written to ``task-state``. Longer: a takeover reads more of
    the log; shorter: more records."""

    snapshot_events: int = 5_000
    """After so many events a snapshot is taken at once: bounds what a takeover reads."""

    hold_s: float = 10.0
    """A command for an unknown task waits so long for the task to be created."""

    held_max: int = 10_000
    """Commands that wait in one partition; beyond that no more are read for a while."""

    default_timeout_s: float = 300.0
    """The time of a task whose creator names neither timeout nor deadline."""

    clock_difference_max_s: float = 60.0
    """A router whose clock is further from the broker's decides nothing: it would fail tasks
    before their deadlines, or long after. Known only where ``task-state`` has
    ``message.timestamp.type=LogAppendTime``."""

    remember_s: float = 24 * 3600.0
    """Completed tasks are remembered so long after their end (and at least 24 h)."""

    remember_failed_s: float = 30 * 24 * 3600.0
    """Failed and cancelled tasks are remembered, and can be retried, so long."""

    def __post_init__(self) -> None:
        for name in (
            "snapshot_interval_s",
            "snapshot_events",
            "held_max",
            "default_timeout_s",
            "clock_difference_max_s",
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        if self.hold_s < 0:
            raise ValueError(f"hold_s is {self.hold_s}; it must be at least 0")
