"""The way from a system to one with more partitions: a second one beside it, then a switch.

The partition of a task is its key's hash modulo their number. The number of a topic that holds
tasks cannot change: the owner of a living task would be looked for in a wrong partition. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas.errors import SettingsError
from schemas.topics import Topics, TopicsSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What the present system still has to do."""

    unread: int
    """Records that its groups have not read: without these, rows do not say what is left."""
    unwritten: int
    """Records that Postgres does not have yet: the rows are those of an earlier time."""
    tasks: int
    """Tasks that have not ended, also those that are held."""
    letters: int
    """Dead letters on which nobody has acted: a replay goes to the topics of its own system."""

    @property
    def drained(self) -> bool:
        """Whether the present system can be stopped without leaving work behind."""
        return not (self.unread or self.unwritten or self.tasks or self.letters)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthStep:
    """One step of the way."""

    what: str
    commands: list[str] = field(default_factory=list)


def grown(present: TopicsSettings, partitions: int, prefix: str) -> TopicsSettings:
    """The topics of the second system.

    Args:
        present: of the system that runs.
        partitions: more than it has.
        prefix: of the new topics; empty: made from the number.

    Raises:
        SettingsError: the number is not larger, or the prefix is that of the present topics.
    """
    if partitions <= present.partitions:
        raise SettingsError(
            f"--partitions is {partitions}, and there are {present.partitions}: it must be more"
        )
    chosen = prefix or f"p{partitions}.{present.prefix}"
    if chosen == present.prefix:
        raise SettingsError(f"--prefix {chosen} is that of the present topics")
    try:
        return TopicsSettings(
            prefix=chosen,
            partitions=partitions,
            replication_factor=present.replication_factor,
        )
    except ValueError as error:
        raise SettingsError(f"--prefix: {error}") from error


def growth_steps(present: TopicsSettings, wanted: TopicsSettings) -> list[GrowthStep]:
    """The steps, in their order."""
    old, new = Topics(present), Topics(wanted)
    variables = f"ORCH_TOPICS_PREFIX={wanted.prefix} ORCH_TOPICS_PARTITIONS={wanted.partitions}"
    return [
        GrowthStep(
            what="Make the topics of a second system, and its tables in a database of its own: "
            "rows belong to one log.",
            commands=[
                f"{variables} orchestrator topics apply",
                "ORCH_POSTGRES_DSN=NEW_DATABASE orchestrator migrate up",
            ],
        ),
        GrowthStep(
            what="Start each role and the service of the second system with these three "
            "variables, beside those that run. Accounts need rights for the new names.",
            commands=[f"{variables} orchestrator topics acls all --principal User:NAME"],
        ),
        GrowthStep(
            what=f"Switch: upstream services publish to {new.task_created} and no longer to "
            f"{old.task_created}; callers use the second service. A creation is recognized by the "
            "system that got it: let callers end their retries at the one where they began.",
        ),
        GrowthStep(
            what="Drain the first system: run this command again until nothing is left. Tasks "
            "that are held end only if somebody executes or cancels them.",
            commands=[
                f"orchestrator topics plan-growth --partitions {wanted.partitions} "
                f"--prefix {wanted.prefix}"
            ],
        ),
        GrowthStep(
            what="Stop the roles of the first system. Its database and its topics keep the past: "
            "leave them for as long as somebody asks for it.",
        ),
    ]
