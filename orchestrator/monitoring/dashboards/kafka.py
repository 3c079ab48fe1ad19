"""The dashboard of consumer groups, partitions and their owners."""

from orchestrator.monitoring.dashboards.panel import Dashboard, Panel, PanelKind, Query, Unit
from orchestrator.monitoring.dashboards.promql import quantile, rate

DASHBOARD = Dashboard(
    "kafka",
    "Kafka and owners",
    "Which group is behind, and does every partition have one owner?",
    (
        Panel(
            "Owners of a partition, most",
            PanelKind.NUMBER,
            Unit.COUNT,
            (Query("max(count by (partition) (orchestrator_owner_epoch)) or vector(0)"),),
            "1 is right. 2 may be seen for a moment while a partition moves; the older owner's "
            "events are ignored.",
            "partitionwithtwoowners",
            bad_from=2,
        ),
        Panel(
            "Age of these figures",
            PanelKind.NUMBER,
            Unit.SECONDS,
            (Query("time() - max(orchestrator_groups_watched_timestamp_seconds > 0)"),),
            "The service reads the positions of all groups every few seconds. If this is old, lag "
            "and members on this page are, too.",
            "groupsnotwatched",
            bad_from=120,
        ),
        Panel(
            "Age of the oldest unread record",
            PanelKind.LINES,
            Unit.SECONDS,
            (Query("max by (group) (orchestrator_group_oldest_unread_age_seconds)", "{{group}}"),),
            "By consumer group. A growing line is a group that stands still or is too slow.",
            "recordswait",
        ),
        Panel(
            "Members of groups",
            PanelKind.LINES,
            Unit.COUNT,
            (Query("max by (group) (orchestrator_group_members)", "{{group}}"),),
            "0: nobody reads these topics.",
            "grouphasnoconsumer",
        ),
        Panel(
            "Unread records",
            PanelKind.LINES,
            Unit.COUNT,
            (
                Query(
                    "sum by (group) (max by (group, topic, partition) "
                    "(orchestrator_group_lag_records))",
                    "{{group}}",
                ),
            ),
            "Records that a group has not committed, in all of its topics.",
            "recordswait",
        ),
        Panel(
            "Events appended by kind",
            PanelKind.LINES,
            Unit.PER_SECOND,
            (Query(rate("orchestrator_task_events_total", "kind"), "{{kind}}"),),
            "What routers decide. All lines at 0 while records wait: routers stand still.",
            "recordswait",
        ),
        Panel(
            "Records taken by topic and outcome",
            PanelKind.LINES,
            Unit.PER_SECOND,
            (Query(rate("orchestrator_records_total", "topic, outcome"), "{{topic}} {{outcome}}"),),
            "All roles. Outcomes in capitals are refusals, which the page of errors explains.",
            "deadlettersgrow",
        ),
        Panel(
            "Takeovers",
            PanelKind.LINES,
            Unit.PER_SECOND,
            (Query(rate("orchestrator_takeovers_total"), "takeovers"),),
            "Partitions taken over. They move when a router starts or stops, at no other time.",
            "partitionwithoutowner",
        ),
        Panel(
            "Duration of takeovers, p95",
            PanelKind.LINES,
            Unit.SECONDS,
            (Query(quantile(0.95, "orchestrator_takeover_duration_seconds"), "p95"),),
            "Tasks of a partition stand still during its takeover.",
            "partitionwithoutowner",
        ),
        Panel(
            "Owner epochs",
            PanelKind.LINES,
            Unit.COUNT,
            (Query("max by (partition) (orchestrator_owner_epoch)", "{{partition}}"),),
            "Each takeover adds 1.",
            "partitionwithtwoowners",
        ),
        Panel(
            "Tasks and commands in routers' memory",
            PanelKind.LINES,
            Unit.COUNT,
            (
                Query("sum(orchestrator_tasks_in_memory)", "tasks, also ended ones"),
                Query("sum(orchestrator_held_commands)", "commands before their task"),
            ),
            "Commands wait a short time for their task to be created, then become dead letters.",
            "a-task-is-stuck",
        ),
        Panel(
            "Records that were missing",
            PanelKind.LINES,
            Unit.COUNT,
            (Query("sum by (topic) (orchestrator_records_missing_total)", "{{topic}}"),),
            "Removed by retention before they were read; a process finds that out when it starts. "
            "The number is that of the processes that run now.",
            "recordsmissing",
        ),
        Panel(
            "Records unreadable or of former owners",
            PanelKind.LINES,
            Unit.PER_SECOND,
            (
                Query(
                    rate("orchestrator_unreadable_records_total", "topic, code"),
                    "{{topic}} {{code}}",
                ),
                Query(rate("orchestrator_events_ignored_total"), "ignored"),
            ),
            "Ignored events were written by an owner that had lost its partition, which is "
            "harmless. Unreadable records become dead letters.",
            "recordsunreadable",
        ),
        Panel(
            "Records behind an open transaction",
            PanelKind.LINES,
            Unit.COUNT,
            (
                Query(
                    "sum by (topic) (max by (topic, partition) (orchestrator_uncommitted_records))",
                    "{{topic}}",
                ),
            ),
            "Nobody reads them until the producer of the transaction ends it, or Kafka does.",
            "transactionopen",
        ),
        Panel(
            "Clock difference to the broker",
            PanelKind.LINES,
            Unit.SECONDS,
            (Query("orchestrator_clock_difference_seconds", "{{process}}"),),
            "An owner whose clock is too far from the broker's does not decide.",
            "clockskew",
        ),
        Panel(
            "Event loop delay",
            PanelKind.LINES,
            Unit.SECONDS,
            (Query("max by (role) (orchestrator_event_loop_delay_seconds)", "{{role}}"),),
            "How late timers are, at worst in a role. Above 1 s a process is overloaded.",
            "eventlooplate",
        ),
    ),
)
