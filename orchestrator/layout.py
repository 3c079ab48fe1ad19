"""The parts of a whole system: its roles, its topics, and the common rules."""

from collections.abc import Sequence

from orchestrator.settings import Settings
from schemas.topics import DLQ_PREFIX, Topic, Topics, TopicsSettings
from tasks.decision import Rules
from tasks.pipeline import Pipelines

ROUTER = "router"
SINK = "sink"
DLQ_INDEX = "dlq-index"
STEP_PREFIX = "step."
STEPS = "steps"
ALL = "all"


def roles(pipelines: Pipelines) -> list[str]:
    """All roles that a whole system needs; each can be a process of its own."""
    return [ROUTER, SINK, DLQ_INDEX, *(STEP_PREFIX + step for step in pipelines.step_names)]


def roles_named(words: Sequence[str], pipelines: Pipelines) -> list[str]:
    """The roles that words name, each once: a role, ``steps`` (all of them) or ``all``.

    Raises:
        ValueError: a word names none.
    """
    known = roles(pipelines)
    groups = {ALL: known, STEPS: [role for role in known if role.startswith(STEP_PREFIX)]}
    found: dict[str, None] = {}
    for word in words:
        if word not in groups and word not in known:
            raise ValueError(
                f"there is no role {word!r}; roles: {', '.join(known)}, {STEPS}, {ALL}"
            )
        found |= dict.fromkeys(groups.get(word, [word]))
    return list(found)


def topic_table(
    settings: Settings, pipelines: Pipelines, topics: TopicsSettings | None = None
) -> list[Topic]:
    """The topics of this system.

    Args:
        settings: the settings of the system.
        pipelines: their steps have topics.
        topics: replaces those of ``settings``: with the number of copies that a cluster takes.
    """
    named = Topics(topics or settings.topics)
    return named.table(pipelines.step_names, settings.limits)


def consumer_groups(settings: Settings, pipelines: Pipelines) -> dict[str, list[str]]:
    """Every consumer group of this system, with the topics that it reads."""
    topics, prefix = Topics(settings.topics), settings.topics.prefix
    letters = [t.name for t in topic_table(settings, pipelines) if t.name.startswith(DLQ_PREFIX)]
    steps = {prefix + STEP_PREFIX + step: topics.lanes(step) for step in pipelines.step_names}
    return {
        prefix + ROUTER: topics.router_inputs,
        **steps,
        prefix + SINK: [topics.task_events],
        prefix + DLQ_INDEX: [*letters, topics.dlq_actions],
    }


def rules_of(settings: Settings, pipelines: Pipelines) -> Rules:
    """The rules by which every owner decides and every producer checks."""
    router = settings.router
    return Rules(
        pipelines=pipelines,
        limits=settings.limits,
        default_timeout_ms=round(router.default_timeout_s * 1000),
        remember_ms=round(router.remember_s * 1000),
        remember_failed_ms=round(router.remember_failed_s * 1000),
    )
