"""What a whole system is made of: its roles, its topics, and the rules that all obey."""

from orchestrator.settings import Settings
from schemas.topics import Topic, Topics
from tasks.decision import Rules
from tasks.pipeline import Pipelines

ROUTER = "router"
SINK = "sink"
DLQ_INDEX = "dlq-index"
STEP_PREFIX = "step."


def roles(pipelines: Pipelines) -> list[str]:
    """All roles that a whole system needs; each is a process of its own."""
    return [ROUTER, SINK, DLQ_INDEX, *(STEP_PREFIX + step for step in pipelines.step_names)]


def topic_table(settings: Settings, pipelines: Pipelines) -> list[Topic]:
    """The topics of this system."""
    return Topics(settings.topics).table(pipelines.step_names, settings.limits)


def rules_of(settings: Settings, pipelines: Pipelines) -> Rules:
    """What every owner decides by, and every producer checks by."""
    router = settings.router
    return Rules(
        pipelines=pipelines,
        limits=settings.limits,
        default_timeout_ms=round(router.default_timeout_s * 1000),
        remember_ms=round(router.remember_s * 1000),
        remember_failed_ms=round(router.remember_failed_s * 1000),
    )
