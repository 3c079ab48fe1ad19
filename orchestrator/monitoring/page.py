"""``docs/metrics.md``: every metric, from the objects that count.

``python -m orchestrator.monitoring.page`` prints it; ``make configuration`` writes the file, and a
test fails when the file is stale.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from prometheus_client.metrics import MetricWrapperBase

from orchestrator.api import metrics as api
from orchestrator.api.limits import metrics as limits
from orchestrator.api.replica import metrics as replica
from orchestrator.monitoring import group_lag
from sinks import metrics as postgres
from sinks.counts.measures import MEASURES, Measure, Shape
from streams import metrics as streams

FILE = "docs/metrics.md"

_HEAD = Path(__file__).with_name("page_head.md")
_MODULES = (streams, postgres, api, limits, replica, group_lag)

BUSINESS = "Business: the sink, from accepted events"
_SECTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        BUSINESS: tuple(measure.name for measure in MEASURES),
        "Every process": (
            "orchestrator_build_info",
            "orchestrator_event_loop_delay_seconds",
            "orchestrator_records_total",
            "orchestrator_dead_letters_total",
            "orchestrator_unreadable_records_total",
            "orchestrator_records_missing_total",
            "orchestrator_uncommitted_records",
        ),
        "Router": (
            "orchestrator_task_events_total",
            "orchestrator_live_tasks",
            "orchestrator_tasks_in_memory",
            "orchestrator_held_commands",
            "orchestrator_owner_epoch",
            "orchestrator_takeovers_total",
            "orchestrator_takeover_duration_seconds",
            "orchestrator_snapshots_total",
            "orchestrator_clock_difference_seconds",
        ),
        "Step workers": (
            "orchestrator_step_duration_seconds",
            "orchestrator_in_flight",
            "orchestrator_slots",
            "orchestrator_buffered",
            "orchestrator_step_copies_total",
            "orchestrator_steps_stopped_total",
            "orchestrator_flood_guard_paused",
            "orchestrator_breaker_open",
            "orchestrator_service_calls_max",
            "orchestrator_throttled_calls_total",
            "orchestrator_retries_held_total",
            "orchestrator_hedged_calls_total",
            "orchestrator_service_endpoints",
            "orchestrator_service_endpoints_left_out_total",
            "orchestrator_discovery_failures_total",
            "orchestrator_model_fallbacks_total",
            "orchestrator_model_calls_unpriced_total",
            "orchestrator_cancels_in_memory",
            "orchestrator_answers_in_memory_bytes",
        ),
        "Sink and dead-letter index": (
            "orchestrator_sink_batch_events",
            "orchestrator_sink_delay_seconds",
            "orchestrator_sink_watermark_timestamp_seconds",
            "orchestrator_events_ignored_total",
            "orchestrator_open_letters",
            "orchestrator_oldest_open_letter_age_seconds",
            "orchestrator_db_query_duration_seconds",
        ),
        "The service": (
            "orchestrator_grpc_requests_total",
            "orchestrator_http_requests_total",
            "orchestrator_api_streams_open",
            "orchestrator_api_limited_total",
            "orchestrator_replica_lag_records",
            "orchestrator_replica_tasks",
        ),
        "Consumer groups, as the service sees them": (
            "orchestrator_group_lag_records",
            "orchestrator_group_oldest_unread_age_seconds",
            "orchestrator_group_members",
            "orchestrator_partitions",
            "orchestrator_groups_watched_timestamp_seconds",
        ),
    }
)


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric, as a scrape names it."""

    name: str
    """That of a counter ends with ``_total``; a histogram is without its suffixes."""
    kind: str
    labels: tuple[str, ...]
    meaning: str


def rows() -> dict[str, MetricRow]:
    """Every metric of the system, by name."""
    found = [*map(_measure, MEASURES)]
    for module in _MODULES:
        found += [_row(each) for each in vars(module).values() if _is_metric(each)]
    return {row.name: row for row in found}


def _is_metric(value: object) -> bool:
    return isinstance(value, MetricWrapperBase)


def _row(metric: MetricWrapperBase) -> MetricRow:
    kind = str(metric._type)
    name = metric._name + ("_total" if kind == "counter" else "")
    return MetricRow(name, kind, tuple(metric._labelnames), metric._documentation)


def _measure(measure: Measure) -> MetricRow:
    kind = "histogram" if measure.shape is Shape.DURATION else "counter"
    return MetricRow(measure.name, kind, (*measure.labels, "log_partition"), measure.about)


def text() -> str:
    """The page."""
    return "\n".join([_HEAD.read_text("utf-8"), *_sections(rows())]).rstrip() + "\n"


def _sections(known: Mapping[str, MetricRow]) -> Iterator[str]:
    for title, names in _SECTIONS.items():
        yield f"## {title}\n"
        yield "| metric | type | labels | meaning |"
        yield "|---|---|---|---|"
        for name in names:
            row = known[name]
            labels = ", ".join(f"`{label}`" for label in row.labels)
            yield f"| `{name}` | {row.kind} | {labels} | {row.meaning} |"
        yield ""


if __name__ == "__main__":
    sys.stdout.write(text())
