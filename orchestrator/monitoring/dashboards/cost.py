"""The dashboard of money and tokens."""

from orchestrator.monitoring.dashboards.panel import (
    Choice,
    Dashboard,
    Panel,
    PanelKind,
    Query,
    Unit,
)
from orchestrator.monitoring.dashboards.promql import increase, rate

_COMPLETED = 'status="completed"'

DASHBOARD = Dashboard(
    "cost",
    "Cost",
    "What do models cost, for whom, and how much of it is wasted?",
    (
        Panel(
            "Wasted share of the cost",
            PanelKind.NUMBER,
            Unit.SHARE,
            (
                Query(
                    f"({increase('orchestrator_wasted_cost_usd_total')} or vector(0))"
                    f" / ({increase('orchestrator_cost_usd_total')} > 0)"
                ),
            ),
            "Cost of attempts that failed, of all cost in the range shown. Empty without cost.",
            "moneywasted",
            bad_from=0.1,
        ),
        Panel(
            "Cost of a completed task",
            PanelKind.NUMBER,
            Unit.USD,
            (
                Query(
                    increase("orchestrator_cost_usd_total")
                    + f" / ({increase('orchestrator_tasks_total', matching=_COMPLETED)} > 0)"
                ),
            ),
            "All cost in the range shown, by tasks that completed in it.",
            "costspike",
        ),
        Panel(
            "Cost by model",
            PanelKind.LINES,
            Unit.USD_PER_HOUR,
            (
                Query(
                    "3600 * "
                    + rate("orchestrator_cost_usd_total", "model", 'tenant_id=~"$tenant"'),
                    "{{model}}",
                ),
            ),
            "Cost of accepted attempts, at the speed of the moment.",
            "costspike",
        ),
        Panel(
            "Cost in the range shown, by tenant",
            PanelKind.BARS,
            Unit.USD,
            (
                Query(
                    "topk(10, "
                    + increase("orchestrator_cost_usd_total", "tenant_id", 'tenant_id=~"$tenant"')
                    + ")",
                    "{{tenant_id}}",
                ),
            ),
            "The ten largest. Tenants below the 100 largest are one bar, other.",
            "costspike",
        ),
        Panel(
            "Tokens by model",
            PanelKind.LINES,
            Unit.PER_SECOND,
            (
                Query(
                    rate("orchestrator_tokens_used_total", "model", 'tenant_id=~"$tenant"'),
                    "{{model}}",
                ),
            ),
            "Input and output tokens of accepted attempts.",
            "costspike",
        ),
        Panel(
            "Wasted tokens by service",
            PanelKind.LINES,
            Unit.PER_SECOND,
            (Query(rate("orchestrator_wasted_tokens_total", "service"), "{{service}}"),),
            "Tokens of attempts that failed.",
            "moneywasted",
        ),
    ),
    (Choice("tenant", "orchestrator_cost_usd_total", "tenant_id"),),
)
