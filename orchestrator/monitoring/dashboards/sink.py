"""The dashboard of the sink and Postgres."""

from orchestrator.monitoring.dashboards.panel import Dashboard, Panel, PanelKind, Query, Unit
from orchestrator.monitoring.dashboards.promql import quantile, rate

DASHBOARD = Dashboard(
    "sink",
    "Sink and Postgres",
    "Are the tables up to date, and how fast is Postgres?",
    (
        Panel(
            "Sink: oldest unread event",
            PanelKind.NUMBER,
            Unit.SECONDS,
            (
                Query(
                    'max(orchestrator_group_oldest_unread_age_seconds{group=~".*sink",group!~".*step[.].*"})'
                ),
            ),
            "How far the tables are behind the log. Tasks run on meanwhile.",
            "sinkbehind",
            bad_from=60,
        ),
        Panel(
            "Time from an event to its row",
            PanelKind.LINES,
            Unit.SECONDS,
            tuple(
                Query(quantile(share, "orchestrator_sink_delay_seconds"), f"p{share * 100:g}")
                for share in (0.5, 0.95, 0.99)
            ),
            "Of the oldest event of each batch.",
            "sinkbehind",
        ),
        Panel(
            "Events written",
            PanelKind.LINES,
            Unit.PER_SECOND,
            (
                Query(
                    rate("orchestrator_sink_batch_events_sum"),
                    "events",
                ),
            ),
            "Zero while the log grows: the sink stands still.",
            "sinkbehind",
        ),
        Panel(
            "Events in a batch",
            PanelKind.LINES,
            Unit.COUNT,
            (Query(quantile(0.95, "orchestrator_sink_batch_events"), "p95"),),
            "Batches grow when the sink catches up.",
            "sinkbehind",
        ),
        Panel(
            "Age of the newest event in Postgres",
            PanelKind.LINES,
            Unit.SECONDS,
            (
                Query(
                    "time() - max by (partition) (orchestrator_sink_watermark_timestamp_seconds)",
                    "{{partition}}",
                ),
            ),
            "By partition of the log. It also grows while no task runs.",
            "sinkbehind",
        ),
        Panel(
            "Duration of statements, p95",
            PanelKind.LINES,
            Unit.SECONDS,
            (
                Query(
                    quantile(0.95, "orchestrator_db_query_duration_seconds", "operation"),
                    "{{operation}}",
                ),
            ),
            "By operation, failed ones included.",
            "postgresslow",
        ),
        Panel(
            "Statements by operation",
            PanelKind.LINES,
            Unit.PER_SECOND,
            (
                Query(
                    rate("orchestrator_db_query_duration_seconds_count", "operation"),
                    "{{operation}}",
                ),
            ),
            "Of all roles. Zero while events wait: the sink does not reach Postgres.",
            "postgresslow",
        ),
    ),
)
