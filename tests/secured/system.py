"""A whole system on a secured Kafka, where each process has an account of its own.

Each account has the rules that ``orchestrator topics acls`` prints for its role, and no others.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import AclOperation, ResourcePatternType, ResourceType

from orchestrator.acls import ADMIN, ANALYST, OPERATOR, UPSTREAM
from orchestrator.layout import roles
from orchestrator.local.dev.system import DEV_DEFAULTS, SERVE, open_system
from orchestrator.settings import load_settings
from streams.settings import KafkaSettings
from tasks.pipeline_file import load_pipelines
from tests.commands import run_command
from tests.e2e.driving import ANY_PORTS, Running
from tests.secured.broker import PASSWORD, Rule, SecuredKafka

_RESOURCES = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP}
_PATTERNS = {"literal": ResourcePatternType.LITERAL, "prefixed": ResourcePatternType.PREFIXED}


@dataclass(frozen=True)
class SecuredSystem:
    """The system, its broker, and the accounts of people."""

    running: Running
    kafka: SecuredKafka
    environment: Mapping[str, str]

    def settings_of(self, user: str) -> KafkaSettings:
        """A person's connection."""
        return self.kafka.login(user=user)

    def variables_of(self, user: str) -> dict[str, str]:
        """The variables of a person's shell."""
        return {**self.environment, "ORCH_KAFKA_USERNAME": user}


@asynccontextmanager
async def open_secured_system(
    kafka: SecuredKafka, postgres_dsn: str, folder: Path, **variables: str
) -> AsyncIterator[SecuredSystem]:
    """Make the accounts, then the topics as their administrator, then start every role.

    Args:
        kafka: a broker or a cluster.
        postgres_dsn: an empty database.
        folder: for logs.
        variables: further ``ORCH_*`` variables.
    """
    login = kafka.login(user=ADMIN)
    environment = {
        "ORCH_KAFKA_BOOTSTRAP": login.bootstrap,
        "ORCH_KAFKA_SECURITY_PROTOCOL": login.security_protocol,
        "ORCH_KAFKA_SASL_MECHANISM": login.sasl_mechanism,
        "ORCH_KAFKA_CA_FILE": str(login.ca_file),
        "ORCH_KAFKA_PASSWORD": PASSWORD,
        "ORCH_KAFKA_USERNAME": ADMIN,
        "ORCH_POSTGRES_DSN": postgres_dsn,
        "ORCH_TOPICS_PARTITIONS": "2",
        "ORCH_TOPICS_REPLICATION_FACTOR": "1",
        "ORCH_ROUTER_SNAPSHOT_INTERVAL_S": "1",
        "ORCH_DEMO_CALL_LOG": str(folder / "calls.jsonl"),
        **ANY_PORTS,
        **variables,
    }
    processes = [*roles(load_pipelines()), SERVE]
    for user in (*processes, ADMIN, ANALYST, OPERATOR, UPSTREAM):
        kafka.add_user(user)
        kafka.allow(user, *printed_rules(user))
    settings = load_settings(environment, DEV_DEFAULTS)
    accounts = {name: {"ORCH_KAFKA_USERNAME": name} for name in processes}
    async with open_system(
        settings, environment=environment, environment_of=accounts, logs=folder
    ) as system:
        running = Running(
            system=system,
            call_log=folder / "calls.jsonl",
            logs=folder,
            observed_at=kafka.open_bootstrap,
        )
        yield SecuredSystem(running, kafka, {**DEV_DEFAULTS, **environment})


def printed_rules(role: str) -> list[Rule]:
    """What ``orchestrator topics acls`` prints for a role."""
    arguments = ["topics", "acls", role, "--principal", f"User:{role}", "--format", "json"]
    printed = run_command(arguments, {})
    assert printed.status == 0, printed.err
    return [
        (
            _RESOURCES[rule["resource"]],
            rule["name"],
            _PATTERNS[rule["pattern"]],
            AclOperation[_constant(operation)],
        )
        for rule in printed.document
        for operation in rule["operations"]
    ]


def _constant(operation: str) -> str:
    """``DescribeConfigs`` as ``DESCRIBE_CONFIGS``."""
    return "".join(f"_{c}" if c.isupper() else c for c in operation).lstrip("_").upper()
