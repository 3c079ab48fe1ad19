"""The dashboard of dead letters."""

from orchestrator.monitoring.dashboards.panel import Dashboard, Panel, PanelKind, Query, Unit
from orchestrator.monitoring.dashboards.promql import rate

DASHBOARD = Dashboard(
    "dead-letters",
    "Dead letters",
    "Which records were given up, why, and how long do they wait for somebody?",
    (
        Panel(
            "Open dead letters by topic",
            PanelKind.BARS,
            Unit.COUNT,
            (Query("max by (topic) (orchestrator_open_letters) > 0", "{{topic}}"),),
            "Letters on which nobody has acted. Empty if there are none.",
            "deadlettersgrow",
        ),
        Panel(
            "Age of the oldest open letter",
            PanelKind.BARS,
            Unit.SECONDS,
            (
                Query(
                    "max by (topic) (orchestrator_oldest_open_letter_age_seconds) > 0", "{{topic}}"
                ),
            ),
            "Kafka removes a letter at the end of its topic's retention, acted on or not.",
            "openlettersnearend",
        ),
        Panel(
            "New dead letters by topic and code",
            PanelKind.LINES,
            Unit.PER_SECOND,
            (Query(rate("orchestrator_dead_letters_total", "topic, code"), "{{topic}} {{code}}"),),
            "A code that was not there before has a new cause. Its line begins at 0, since a rate "
            "does not see the first event of a series.",
            "deadlettercausenew",
        ),
        Panel(
            "Open letters over time",
            PanelKind.LINES,
            Unit.COUNT,
            (Query("sum(max by (topic) (orchestrator_open_letters))", "open"),),
            "Falls when letters are replayed or discarded.",
            "deadlettersgrow",
        ),
        Panel(
            "Age of the index",
            PanelKind.LINES,
            Unit.SECONDS,
            (
                Query(
                    'max(orchestrator_group_oldest_unread_age_seconds{group=~".*dlq-index"})',
                    "oldest unread record",
                ),
            ),
            "How far the list of letters in Postgres is behind its topics.",
            "recordswait",
        ),
    ),
)
