"""The metrics that are counted from accepted events: names, labels, units, buckets. Pure."""

from bisect import bisect_left
from dataclasses import dataclass
from enum import Enum

BUCKETS_MS = (
    *(10, 25, 50, 100, 250, 500),
    *(1_000, 2_500, 5_000, 10_000, 30_000),
    *(60_000, 120_000, 300_000, 600_000),
)
"""Upper bounds, inclusive, for calls of AI services: 10 ms to 10 min."""
NO_BUCKET = 0
ABOVE_ALL = -1
"""The bucket of values above the largest bound."""


class Shape(Enum):
    """What a metric exports of its counts."""

    EVENTS = "events"
    """A counter: how many."""
    TOTAL = "total"
    """A counter: the sum of the values."""
    DURATION = "duration"
    """A histogram in seconds; the values are milliseconds."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One metric."""

    name: str
    """The name of its samples in Prometheus: that of a counter ends with "total"."""
    labels: tuple[str, ...]
    shape: Shape
    about: str
    per_unit: int = 1
    """Stored units in one exported unit: micro-USD in a USD."""


TASKS = Measure(
    "orchestrator_tasks_total",
    ("type", "status"),
    Shape.EVENTS,
    "Tasks that were created or began another run (pending), and runs that ended, by status.",
)
TASK_DURATION = Measure(
    "orchestrator_task_duration_seconds",
    ("type",),
    Shape.DURATION,
    "From the first start of a call to the end of the run, as tasks.duration_ms.",
)
TASK_TURNAROUND = Measure(
    "orchestrator_task_turnaround_seconds",
    ("type",),
    Shape.DURATION,
    "From the creation of a task to the end of its first run, waiting included.",
)
STEP_DURATION = Measure(
    "orchestrator_pipeline_duration_seconds",
    ("pipeline", "step"),
    Shape.DURATION,
    "Duration of a reported attempt, as task_steps.duration_ms; each retry is one more.",
)
TOKENS = Measure(
    "orchestrator_tokens_used_total",
    ("model", "tenant_id"),
    Shape.TOTAL,
    "Input and output tokens of all accepted attempts; smaller tenants together as other.",
)
COST = Measure(
    "orchestrator_cost_usd_total",
    ("model", "tenant_id"),
    Shape.TOTAL,
    "Cost of all accepted attempts in USD; smaller tenants together as other.",
    per_unit=1_000_000,
)
SERVICE_CALLS = Measure(
    "orchestrator_service_calls_total",
    ("service", "status"),
    Shape.EVENTS,
    "Attempts that ended, by service and status as in task_steps; each retry is one more.",
)
WASTED_TOKENS = Measure(
    "orchestrator_wasted_tokens_total",
    ("service",),
    Shape.TOTAL,
    "Tokens of attempts that failed; also in orchestrator_tokens_used_total.",
)
WASTED_COST = Measure(
    "orchestrator_wasted_cost_usd_total",
    ("service",),
    Shape.TOTAL,
    "Cost in USD of attempts that failed; also in orchestrator_cost_usd_total.",
    per_unit=1_000_000,
)
MEASURES = (
    *(TASKS, TASK_DURATION, TASK_TURNAROUND, STEP_DURATION, TOKENS, COST),
    *(SERVICE_CALLS, WASTED_TOKENS, WASTED_COST),
)
"""Every exported metric."""

TENANT_TOKENS = Measure("tenant_tokens", ("tenant",), Shape.TOTAL, "Not exported: ranks tenants.")
TENANT_COST = Measure("tenant_cost", ("tenant",), Shape.TOTAL, "Not exported: ranks tenants.")


def bucket_of(duration_ms: int) -> int:
    """The smallest bound that is not below a duration; ``ABOVE_ALL`` above the largest."""
    place = bisect_left(BUCKETS_MS, duration_ms)
    return BUCKETS_MS[place] if place < len(BUCKETS_MS) else ABOVE_ALL
