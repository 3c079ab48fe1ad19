"""The dashboard of the service and its callers."""

from orchestrator.monitoring.dashboards.panel import Dashboard, Panel, PanelKind, Query, Unit
from orchestrator.monitoring.dashboards.promql import rate

DASHBOARD = Dashboard(
    "service",
    "Service",
    "How does the service answer its callers over gRPC and HTTP?",
    (
        Panel(
            "Faults of the service",
            PanelKind.LINES,
            Unit.PER_SECOND,
            (
                Query(
                    rate(
                        "orchestrator_grpc_requests_total",
                        "method, status",
                        'status=~"internal|unavailable|unknown"',
                    ),
                    "{{method}} {{status}}",
                ),
                Query(
                    rate("orchestrator_http_requests_total", "route, status", 'status=~"5.."'),
                    "{{route}} {{status}}",
                ),
            ),
            "Answers that are no fault of the caller. Empty if there are none.",
            "apierrors",
        ),
        Panel(
            "Records that replicas have not read",
            PanelKind.LINES,
            Unit.COUNT,
            (
                Query(
                    "max by (process) (orchestrator_replica_lag_records)",
                    "{{process}}",
                ),
            ),
            "A replica that is behind answers with older states of tasks.",
            "replicabehind",
        ),
        Panel(
            "gRPC calls",
            PanelKind.LINES,
            Unit.PER_SECOND,
            (
                Query(
                    rate("orchestrator_grpc_requests_total", "method, status"),
                    "{{method}} {{status}}",
                ),
            ),
            "Calls that ended; a stream counts at its end.",
            "apierrors",
        ),
        Panel(
            "HTTP requests",
            PanelKind.LINES,
            Unit.PER_SECOND,
            (
                Query(
                    rate("orchestrator_http_requests_total", "route, method, status"),
                    "{{method}} {{route}} {{status}}",
                ),
            ),
            "Requests whose answer began.",
            "apierrors",
        ),
        Panel(
            "Refused by a limit",
            PanelKind.LINES,
            Unit.PER_SECOND,
            (Query(rate("orchestrator_api_limited_total", "limit"), "{{limit}}"),),
            "A caller that is refused is told when to try again. The page of settings has the "
            "limits.",
            "apierrors",
        ),
        Panel(
            "Streams open",
            PanelKind.LINES,
            Unit.COUNT,
            (Query("sum by (process) (orchestrator_api_streams_open)", "{{process}}"),),
            "Streams, and waits that may last longer than a moment.",
            "apierrors",
        ),
        Panel(
            "Tasks in replicas' memory",
            PanelKind.LINES,
            Unit.COUNT,
            (Query("sum by (process) (orchestrator_replica_tasks)", "{{process}}"),),
            "Each replica keeps recent tasks. The setting of their age bounds the number.",
            "replicabehind",
        ),
    ),
)
