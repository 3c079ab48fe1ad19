"""The dashboard of pipelines, steps and services."""

from orchestrator.monitoring.dashboards.panel import (
    Choice,
    Dashboard,
    Panel,
    PanelKind,
    Query,
    Unit,
)
from orchestrator.monitoring.dashboards.promql import quantile, rate

_ATTEMPTS = rate("orchestrator_service_calls_total", "service")
_FAILED = rate("orchestrator_service_calls_total", "service", 'status=~"failed|retry_scheduled"')

DASHBOARD = Dashboard(
    "steps",
    "Pipelines and steps",
    "Which task type, step or service is slow or fails?",
    (
        Panel(
            "Calls that fail, by service",
            PanelKind.LINES,
            Unit.SHARE,
            (
                Query(
                    f"({_FAILED} or 0 * {_ATTEMPTS}) / {_ATTEMPTS}",
                    "{{service}}",
                ),
            ),
            "Share of the attempts that did not succeed; each retry is one more attempt.",
            "tasksuccessburnsfast",
        ),
        Panel(
            "Flood guards and breakers",
            PanelKind.LINES,
            Unit.COUNT,
            (
                Query("max by (service) (orchestrator_flood_guard_paused)", "{{service}} guard"),
                Query("max by (service) (orchestrator_breaker_open)", "{{service}} breaker"),
            ),
            "1 while a service is asked by probes only, after dead letters or failed calls.",
            "floodguardshut",
        ),
        Panel(
            "Calls at once that a service may get",
            PanelKind.LINES,
            Unit.COUNT,
            (Query("sum by (service) (orchestrator_service_calls_max)", "{{service}}"),),
            "The slots of all workers; fewer while the service answers that there are too many.",
            "recordswait",
        ),
        Panel(
            "Throttled calls and held retries",
            PanelKind.LINES,
            Unit.PER_SECOND,
            (
                Query(rate("orchestrator_throttled_calls_total", "service"), "{{service}} calls"),
                Query(rate("orchestrator_retries_held_total", "service"), "{{service}} retries"),
            ),
            "Calls that a service refused as too many, which cost no attempt, and retries that "
            "wait because too many calls were retries.",
            "recordswait",
        ),
        Panel(
            "Duration of calls by step, p95",
            PanelKind.LINES,
            Unit.SECONDS,
            (
                Query(
                    quantile(0.95, "orchestrator_step_duration_seconds", "step, outcome"),
                    "{{step}} {{outcome}}",
                ),
            ),
            "How long services take, as step workers measure it.",
            "tasklatencyburnsfast",
        ),
        Panel(
            "Slots in use",
            PanelKind.LINES,
            Unit.SHARE,
            (
                Query(
                    'sum by (role) (orchestrator_in_flight{role=~".*step.*|all"})'
                    ' / sum by (role) (orchestrator_slots{role=~".*step.*|all"})',
                    "{{role}}",
                ),
            ),
            "At 100 % commands wait for a slot: the service is slow, or the step needs more "
            "workers.",
            "recordswait",
        ),
        Panel(
            "Commands that wait in workers",
            PanelKind.LINES,
            Unit.COUNT,
            (Query('sum by (topic) (orchestrator_buffered{role=~".*step.*|all"})', "{{topic}}"),),
            "Commands that were read and wait for a slot, by lane.",
            "recordswait",
        ),
        Panel(
            "Duration of steps by pipeline, p95",
            PanelKind.LINES,
            Unit.SECONDS,
            (
                Query(
                    quantile(0.95, "orchestrator_pipeline_duration_seconds", "pipeline, step"),
                    "{{pipeline}} {{step}}",
                ),
            ),
            "Duration of attempts as they are in the table of steps.",
            "tasklatencyburnsfast",
        ),
        Panel(
            "Duration of tasks, p95",
            PanelKind.LINES,
            Unit.SECONDS,
            (
                Query(
                    quantile(0.95, "orchestrator_task_duration_seconds", "type", 'type=~"$type"'),
                    "{{type}}",
                ),
            ),
            "From the first start of a call to the end of the run. The turnaround on the overview "
            "also has the time before.",
            "tasklatencyburnsfast",
        ),
        Panel(
            "Attempts by service and status",
            PanelKind.LINES,
            Unit.PER_SECOND,
            (
                Query(
                    rate("orchestrator_service_calls_total", "service, status"),
                    "{{service}} {{status}}",
                ),
            ),
            "Attempts that ended. Many with retry_scheduled: the service fails, but retries help.",
            "tasksuccessburnsfast",
        ),
        Panel(
            "Copies of commands, and stopped commands",
            PanelKind.LINES,
            Unit.PER_SECOND,
            (
                Query(rate("orchestrator_step_copies_total", "step, how"), "{{step}} {{how}}"),
                Query(rate("orchestrator_steps_stopped_total", "step, how"), "{{step}} {{how}}"),
            ),
            "Second copies that were answered without a second call, as after a worker's death, "
            "and commands that a cancel ended.",
            "processrestarts",
        ),
        Panel(
            "Results kept in memory",
            PanelKind.LINES,
            Unit.BYTES,
            (
                Query(
                    'sum by (role) (orchestrator_answers_in_memory_bytes{role=~".*step.*|all"})',
                    "{{role}}",
                ),
            ),
            "What workers keep for second copies of their commands; it is bounded by a setting.",
            "processrestarts",
        ),
    ),
    (Choice("type", "orchestrator_tasks_total", "type"),),
)
