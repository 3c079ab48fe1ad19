"""Expressions that stay empty or zero here, and why."""

UNCAUSED: dict[str, str] = {
    "topic:orchestrator_records_missing:new15m": (
        "a router finds the gap once, when it starts, and a new series counts only after 15 "
        "minutes of scrapes; the rule tests of promtool have it"
    ),
}
"""By the name of the expression."""
