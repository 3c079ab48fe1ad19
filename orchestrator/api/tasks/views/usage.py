"""Usage as callers see it."""

from datetime import date

from orchestrator.api.tasks.views.view import View


class UsageGroup(View, frozen=True, kw_only=True):
    """One group of usage: a dimension that was not requested is null."""

    model: str | None
    type: str | None
    day: date | None
    status: str | None
    tasks: int
    calls: int
    input_tokens: int
    output_tokens: int
    cost_micros: int
    wasted_calls: int
    wasted_input_tokens: int
    wasted_output_tokens: int
    wasted_cost_micros: int


class UsageAnswer(View, frozen=True, kw_only=True):
    """Usage in the requested groups."""

    groups: list[UsageGroup]
