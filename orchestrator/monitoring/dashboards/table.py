"""The table of all dashboards, and what is on none of them."""

from orchestrator.monitoring.dashboards import (
    cost,
    dead_letters,
    kafka,
    overview,
    service,
    sink,
    steps,
)

DASHBOARDS = tuple(
    module.DASHBOARD for module in (overview, steps, kafka, sink, dead_letters, cost, service)
)
"""In the order in which an operator looks."""

NOT_SHOWN = {
    "orchestrator_hedged_calls_total": "only steps that ask for it in their pipeline have any",
    "orchestrator_service_endpoints": "a line of the log follows each change",
    "orchestrator_service_endpoints_left_out_total": "a line of the log names the endpoint",
    "orchestrator_discovery_failures_total": "a line of the log says when it begins and ends",
    "orchestrator_model_fallbacks_total": "a line of the log names the model and the code",
    "orchestrator_model_calls_unpriced_total": "a line of the log names the model, once",
    "orchestrator_cancels_in_memory": "bounded, and a detail of step workers",
    "orchestrator_snapshots_total": "follows the events; late snapshots show in takeovers",
}
"""Metrics that are on no dashboard, with the reason."""
