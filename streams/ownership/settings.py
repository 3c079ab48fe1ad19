"""Settings of the router."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterSettings:
    """``ORCH_ROUTER_<FIELD>``. The same in every router of one system."""

    snapshot_interval_s: float = 10.0
    """How often changed tasks are written to ``task-state``. Longer: a takeover reads more of
    the log; shorter: more records."""

    snapshot_events: int = 5_000
    """After this many events a snapshot is taken at once: bounds what a takeover reads."""

    hold_s: float = 10.0
    """How long a command for an unknown task waits for the task to be created. After that it
    becomes a dead letter."""

    held_max: int = 10_000
    """Commands that may wait in one partition. At this number, reading further commands pauses."""

    default_timeout_s: float = 300.0
    """The time limit of a task whose creator gives neither a timeout nor a deadline."""

    clock_difference_max_s: float = 60.0
    """A router whose clock differs more from the broker's decides nothing, because it would fail
    tasks before their deadlines or long after. The difference is known only where ``task-state``
    has ``message.timestamp.type=LogAppendTime``."""

    remember_s: float = 24 * 3600.0
    """How long completed tasks are remembered after their end; at least 24 h."""

    remember_failed_s: float = 30 * 24 * 3600.0
    """How long failed and cancelled tasks are remembered, and can be retried, after their end."""

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
