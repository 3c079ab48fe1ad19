"""Every metric that a process of the system can export, with its labels."""

from functools import cache

from prometheus_client.metrics import MetricWrapperBase

import orchestrator.api.limits.metrics
import orchestrator.api.metrics
import orchestrator.api.replica.metrics
import orchestrator.monitoring.group_lag
import sinks.metrics
import streams.metrics
from sinks.counts.measures import MEASURES

_MODULES = (
    orchestrator.api.limits.metrics,
    orchestrator.api.metrics,
    orchestrator.api.replica.metrics,
    orchestrator.monitoring.group_lag,
    sinks.metrics,
    streams.metrics,
)


@cache
def exported_metrics() -> dict[str, frozenset[str]]:
    """By name, as it is scraped: the labels. A histogram's name is without its suffix."""
    found = {measure.name: frozenset({*measure.labels, "log_partition"}) for measure in MEASURES}
    for module in _MODULES:
        for value in vars(module).values():
            if isinstance(value, MetricWrapperBase):
                name = value._name + ("_total" if value._type == "counter" else "")
                found[name] = frozenset(value._labelnames)
    return found
