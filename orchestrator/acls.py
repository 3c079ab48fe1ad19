"""What each role may have to do on the cluster: the rights (ACLs) of its account.

One table for ``orchestrator topics acls``, for the check at each start, and for
``docs/security.md``. Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from orchestrator.layout import DLQ_INDEX, ROUTER, SINK, STEP_PREFIX
from schemas.topics import DLQ_PREFIX, Topics, dlq

SERVE = "serve"
UPSTREAM = "upstream"
ANALYST = "analyst"
OPERATOR = "operator"
ADMIN = "admin"

PEOPLE = (UPSTREAM, ANALYST, OPERATOR, ADMIN)
"""Accounts that are not roles of this system: whoever publishes tasks, reads topics, replays dead
letters, or creates the topics."""


class Resource(StrEnum):
    """What a right is about, as Kafka names it."""

    TOPIC = "topic"
    GROUP = "group"
    CLUSTER = "cluster"


class AclOperation(StrEnum):
    """What an account may do, as Kafka names it."""

    READ = "Read"
    WRITE = "Write"
    CREATE = "Create"
    ALTER = "Alter"
    DESCRIBE = "Describe"
    DESCRIBE_CONFIGS = "DescribeConfigs"
    ALTER_CONFIGS = "AlterConfigs"


@dataclass(frozen=True, slots=True, kw_only=True)
class AclRule:
    """One rule: an account may do this with these resources."""

    resource: Resource
    name: str
    """The name of the resource, or the beginning of its name."""
    prefixed: bool = False
    """True: the rule is about all resources whose names begin with ``name``."""
    operations: tuple[AclOperation, ...]

    def covers(self, name: str) -> bool:
        """Whether the rule is about the resource with this name."""
        return name.startswith(self.name) if self.prefixed else name == self.name


def acls_of(role: str, topics: Topics) -> list[AclRule]:
    """The rights that the account of a role needs, and no others.

    Args:
        role: a role of this system, ``serve``, or one of :data:`PEOPLE`.
        topics: the names of the system's topics.

    Raises:
        KeyError: the role does not exist.
    """
    rows = _rows(role, topics)
    describe = [
        _topic(name, AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS, prefixed=True)
        for name in (topics.settings.prefix, DLQ_PREFIX + topics.settings.prefix)
    ]
    return merged([*describe, *rows] if role not in (UPSTREAM, ANALYST) else rows)


def merged(rights: Iterable[AclRule]) -> list[AclRule]:
    """One rule for each resource, with all operations, in the order of the first ones."""
    found: dict[tuple[Resource, str, bool], AclRule] = {}
    for right in rights:
        key = (right.resource, right.name, right.prefixed)
        before = found[key].operations if key in found else ()
        operations = tuple(dict.fromkeys((*before, *right.operations)))
        found[key] = replace(right, operations=operations)
    return list(found.values())


def _rows(role: str, topics: Topics) -> list[AclRule]:
    if role.startswith(STEP_PREFIX):
        return _step(role, topics)
    return {
        ROUTER: _router,
        SINK: _sink,
        DLQ_INDEX: _dlq_index,
        SERVE: _serve,
        UPSTREAM: _upstream,
        ANALYST: _analyst,
        OPERATOR: _operator,
        ADMIN: _admin,
    }[role](topics)


def _router(topics: Topics) -> list[AclRule]:
    return [
        *_reads(*topics.router_inputs),
        *_writes(*map(dlq, topics.router_inputs), topics.control),
        *(
            _topic(name, AclOperation.READ, AclOperation.WRITE)
            for name in (topics.task_events, topics.task_state)
        ),
        *(_topic(name, AclOperation.WRITE, prefixed=True) for name in _step_prefixes(topics)),
        _member(topics, ROUTER),
    ]


def _step(role: str, topics: Topics) -> list[AclRule]:
    lanes = f"{topics.settings.prefix}steps.{role.removeprefix(STEP_PREFIX)}."
    return [
        _topic(lanes, AclOperation.READ, prefixed=True),
        _topic(dlq(lanes), AclOperation.WRITE, prefixed=True),
        # The results of earlier attempts are read, so that none is sent twice.
        _topic(topics.step_results, AclOperation.READ, AclOperation.WRITE),
        *_reads(topics.control),
        *_writes(topics.stream),
        _member(topics, role),
    ]


def _sink(topics: Topics) -> list[AclRule]:
    return [
        *_reads(topics.task_events, topics.task_state),
        *_writes(dlq(topics.task_events)),
        _member(topics, SINK),
    ]


def _dlq_index(topics: Topics) -> list[AclRule]:
    return [
        _letters(topics, AclOperation.READ),
        _topic(topics.dlq_actions, AclOperation.READ, AclOperation.WRITE),
        *_writes(dlq(topics.dlq_actions)),
        # Whether the reader of a replayed record has taken it.
        _groups(topics, AclOperation.DESCRIBE),
        _member(topics, DLQ_INDEX),
    ]


def _serve(topics: Topics) -> list[AclRule]:
    return [
        *_reads(topics.task_events, topics.task_state, topics.stream),
        *_replays(topics),
    ]


def _replays(topics: Topics) -> list[AclRule]:
    """Create tasks, send commands, and send dead letters back to where they came from."""
    return [
        _letters(topics, AclOperation.READ),
        _topic(topics.dlq_actions, AclOperation.READ, AclOperation.WRITE),
        # To the log itself nothing is sent back: a letter of it is written to Postgres again.
        *(_topic(name, AclOperation.READ, AclOperation.WRITE) for name in topics.router_inputs),
        _topic(_step_prefixes(topics)[0], AclOperation.WRITE, prefixed=True),
        _groups(topics, AclOperation.DESCRIBE),
    ]


def _operator(topics: Topics) -> list[AclRule]:
    return [
        # `tail`, `doctor` and `--direct` read everything.
        _topic(topics.settings.prefix, AclOperation.READ, prefixed=True),
        # `topics adopt`, and the probe of `doctor` for the clock.
        _topic(topics.task_state, AclOperation.WRITE),
        *_replays(topics),
    ]


def _upstream(topics: Topics) -> list[AclRule]:
    return [
        _topic(name, AclOperation.WRITE, AclOperation.DESCRIBE)
        for name in (topics.task_created, topics.task_commands)
    ]


def _analyst(topics: Topics) -> list[AclRule]:
    readable = (topics.task_events, topics.step_results, topics.stream)
    return [
        *(_topic(name, AclOperation.READ, AclOperation.DESCRIBE) for name in readable),
        _topic(_step_prefixes(topics)[0], AclOperation.READ, AclOperation.DESCRIBE, prefixed=True),
    ]


def _admin(topics: Topics) -> list[AclRule]:
    operations = (AclOperation.CREATE, AclOperation.ALTER, AclOperation.ALTER_CONFIGS)
    prefixes = (topics.settings.prefix, DLQ_PREFIX + topics.settings.prefix)
    return [_topic(name, *operations, prefixed=True) for name in prefixes]


def _step_prefixes(topics: Topics) -> tuple[str, str]:
    """The beginnings of the names of all step topics, and of their dead-letter topics."""
    steps = f"{topics.settings.prefix}steps."
    return steps, dlq(steps)


def _letters(topics: Topics, *operations: AclOperation) -> AclRule:
    return _topic(DLQ_PREFIX + topics.settings.prefix, *operations, prefixed=True)


def _reads(*names: str) -> list[AclRule]:
    return [_topic(name, AclOperation.READ) for name in names]


def _writes(*names: str) -> list[AclRule]:
    return [_topic(name, AclOperation.WRITE) for name in names]


def _topic(name: str, *operations: AclOperation, prefixed: bool = False) -> AclRule:
    return AclRule(resource=Resource.TOPIC, name=name, prefixed=prefixed, operations=operations)


def _member(topics: Topics, role: str) -> AclRule:
    group = topics.settings.prefix + role
    return AclRule(resource=Resource.GROUP, name=group, operations=(AclOperation.READ,))


def _groups(topics: Topics, operation: AclOperation) -> AclRule:
    prefix = topics.settings.prefix
    return AclRule(resource=Resource.GROUP, name=prefix, prefixed=True, operations=(operation,))


def missing_acls(
    rights: Iterable[AclRule],
    topics: Mapping[str, frozenset[str] | None],
    groups: Mapping[str, frozenset[str] | None],
) -> list[str]:
    """What an account lacks, one text for each rule and operation, in the order of the rules.

    A rule about names with a common beginning ends with ``*``. ``DescribeConfigs`` is not looked
    for: without it a process starts, and logs what it does not know.

    Args:
        rights: what it needs.
        topics: the operations that the broker allows on each topic that exists; None: the broker
            does not say.
        groups: the same for consumer groups.
    """
    lacking: dict[str, None] = {}
    for right in rights:
        known = {Resource.TOPIC: topics, Resource.GROUP: groups}.get(right.resource, {})
        allowed = [given for name, given in known.items() if right.covers(name)]
        named = right.name + ("*" if right.prefixed else "")
        for operation in right.operations:
            if operation is not AclOperation.DESCRIBE_CONFIGS and any(
                given is not None and operation not in given for given in allowed
            ):
                lacking[f"{operation} on the {right.resource} {named}"] = None
    return list(lacking)
