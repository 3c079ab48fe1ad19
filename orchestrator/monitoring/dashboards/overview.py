"""The dashboard of all parts at a glance."""

from orchestrator.monitoring.dashboards.panel import (
    Choice,
    Dashboard,
    Panel,
    PanelKind,
    Query,
    Unit,
)
from orchestrator.monitoring.dashboards.promql import UP, quantile, rate

DASHBOARD = Dashboard(
    "overview",
    "Overview",
    "Is the system well? Start here: red numbers lead to the dashboard with the details.",
    (
        Panel(
            "Tasks that complete",
            PanelKind.NUMBER,
            Unit.SHARE,
            (
                Query(
                    'sum(rate(orchestrator_tasks_total{type=~"$type",status="completed"}[1h]))'
                    ' / sum(rate(orchestrator_tasks_total{type=~"$type",'
                    'status=~"completed|failed"}[1h]))'
                ),
            ),
            "Share of the runs that ended in the last hour and completed; cancelled ones are left "
            "out. Empty if no run ended.",
            "tasksuccessburnsfast",
            bad_from=0.99,
            bad_below=True,
        ),
        Panel(
            "Processes down",
            PanelKind.NUMBER,
            Unit.COUNT,
            (Query(f"count({UP} == 0) or vector(0)"),),
            "Processes that Prometheus cannot scrape.",
            "processdown",
            bad_from=1,
        ),
        Panel(
            "Oldest unread record",
            PanelKind.NUMBER,
            Unit.SECONDS,
            (Query("max(orchestrator_group_oldest_unread_age_seconds)"),),
            "How long the oldest record of any consumer group has waited. The dashboard Kafka and "
            "owners shows which group is behind.",
            "recordswait",
            bad_from=300,
        ),
        Panel(
            "Partitions without an owner",
            PanelKind.NUMBER,
            Unit.COUNT,
            (
                Query(
                    "max(orchestrator_partitions) - "
                    "(count(count by (partition) (orchestrator_owner_epoch)) or vector(0))"
                ),
            ),
            "Task partitions that no router owns: their tasks stand still.",
            "partitionwithoutowner",
            bad_from=1,
        ),
        Panel(
            "Flood guards shut",
            PanelKind.NUMBER,
            Unit.COUNT,
            (Query("count(max by (service) (orchestrator_flood_guard_paused) == 1) or vector(0)"),),
            "Services that are asked by probes only, because most calls ended as dead letters.",
            "floodguardshut",
            bad_from=1,
        ),
        Panel(
            "Open dead letters",
            PanelKind.NUMBER,
            Unit.COUNT,
            (Query("sum(max by (topic) (orchestrator_open_letters))"),),
            "Dead letters on which nobody has acted.",
            "deadlettersgrow",
            bad_from=1,
        ),
        Panel(
            "Tasks created and ended",
            PanelKind.LINES,
            Unit.PER_SECOND,
            (Query(rate("orchestrator_tasks_total", "status", 'type=~"$type"'), "{{status}}"),),
            "Runs by status: pending counts creates and retries. If pending stays above the sum of "
            "the others, work piles up.",
            "tasksuccessburnsfast",
        ),
        Panel(
            "Turnaround of tasks, p95",
            PanelKind.LINES,
            Unit.SECONDS,
            (
                Query(
                    quantile(0.95, "orchestrator_task_turnaround_seconds", "type", 'type=~"$type"'),
                    "{{type}}",
                ),
            ),
            "From the creation of a task to the end of its first run, waiting included.",
            "tasklatencyburnsfast",
        ),
        Panel(
            "Live tasks by phase",
            PanelKind.LINES,
            Unit.COUNT,
            (Query("sum by (phase) (orchestrator_live_tasks)", "{{phase}}"),),
            "Tasks that have not ended. A phase that only grows shows where tasks wait.",
            "a-task-is-stuck",
        ),
        Panel(
            "Processes by role",
            PanelKind.LINES,
            Unit.COUNT,
            (Query(f"sum by (role) ({UP})", "{{role}}"),),
            "Processes that answer, by role.",
            "processdown",
        ),
        Panel(
            "Youngest process by role",
            PanelKind.LINES,
            Unit.SECONDS,
            (
                Query(
                    'time() - max by (role) (process_start_time_seconds{job="ai-orchestrator"})',
                    "{{role}}",
                ),
            ),
            "Time since the last start in a role. A line that keeps falling to zero is a process "
            "that restarts.",
            "processrestarts",
        ),
        Panel(
            "Memory by role",
            PanelKind.LINES,
            Unit.BYTES,
            (
                Query(
                    'sum by (role) (process_resident_memory_bytes{job="ai-orchestrator"})',
                    "{{role}}",
                ),
            ),
            "Resident memory of all processes of a role.",
            "processrestarts",
        ),
        Panel(
            "CPU cores by role",
            PanelKind.LINES,
            Unit.COUNT,
            (
                Query(
                    rate("process_cpu_seconds_total", "role", 'job="ai-orchestrator"'), "{{role}}"
                ),
            ),
            "Cores in use. A process uses one core at most.",
            "eventlooplate",
        ),
        Panel(
            "Versions",
            PanelKind.BARS,
            Unit.COUNT,
            (Query("count by (version) (orchestrator_build_info)", "{{version}}"),),
            "Processes by version: two versions for a long time are an update that did not end.",
            "processrestarts",
        ),
    ),
    (Choice("type", "orchestrator_tasks_total", "type"),),
)
