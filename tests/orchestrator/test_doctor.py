"""`orchestrator doctor`, `topics apply` and the start of a role, against servers that differ."""

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from typer.testing import CliRunner, Result

from agents.letters.indexer import Indexer
from agents.letters.parts import IndexerParts
from agents.steps.control import ControlFollower
from orchestrator.checks import check_cluster
from orchestrator.cli.app import app
from orchestrator.cli.findings import finding_text
from orchestrator.pipelines import installed_pipelines
from orchestrator.settings import Settings, load_settings
from schemas.codec import encode
from schemas.findings import Finding, Severity
from schemas.records import Control, ControlKind, Millis, TaskId
from schemas.topic_rules import ConfigDifference
from schemas.topics import Topics, dlq
from sinks.letters.writer import DeadLetterWriter
from sinks.schema.migrate import migrate_up
from streams.errors import TopicsDifferError
from streams.kafka.admin import Admin
from streams.kafka.dead_letters import DeadLetters
from streams.kafka.publisher import Outgoing, Publisher
from tests.e2e.driving import a_database
from tests.logged import logged
from tests.streams.kafka.test_topic_ids import make_again

NOT_DURABLE = ("fsync is off", "full_page_writes is off")
"""The Postgres of the tests forgets what it had at a power cut; these two are warnings."""
NO_SYSTEM = (
    "ORCH_KAFKA_BOOTSTRAP and ORCH_POSTGRES_DSN are not set, and no running system was found: "
    "start one with `make run` (`orchestrator dev`), or set the variables"
)
SERVICES = ("RETRIEVAL", "RAG_ENGINE", "AGENT_ENGINE", "VOICE_ENGINE", "MULTIMODAL_ENGINE")
OF_KAFKA = ["kafka", "identities", "positions", "transactions", "rights", "clock"]
OF_OTHERS = ["services", "registry"]


class System:
    """Topics and a database of its own; nothing runs on them."""

    def __init__(self, kafka_bootstrap: str, postgres_dsn: str) -> None:
        self.variables = {
            "ORCH_KAFKA_BOOTSTRAP": kafka_bootstrap,
            "ORCH_POSTGRES_DSN": postgres_dsn,
            "ORCH_TOPICS_PREFIX": f"{uuid.uuid4().hex[:8]}.",
            "ORCH_TOPICS_PARTITIONS": "1",
            "ORCH_TOPICS_REPLICATION_FACTOR": "1",
            "ORCH_LOG_LEVEL": "error",
            "ORCH_DEV_FIND": "false",
            # Nothing listens at the defaults.
            **{f"ORCH_SERVICES_{name}": "python://builtins:print" for name in SERVICES},
        }

    @property
    def settings(self) -> Settings:
        return load_settings(self.variables)

    @property
    def topics(self) -> Topics:
        return Topics(self.settings.topics)

    async def run(self, *arguments: str, **changes: str) -> Result:
        variables: Mapping[str, str | None] = {**self.variables, **changes}
        return await asyncio.to_thread(
            CliRunner().invoke, app, list(arguments), env=variables, catch_exceptions=True
        )

    async def doctor(self) -> tuple[int, dict[str, list[dict[str, str]]]]:
        """The exit status, and the findings by severity."""
        ended = await self.run("doctor", "-o", "json")
        found: dict[str, list[dict[str, str]]] = {}
        for line in ended.stdout.splitlines():
            finding = json.loads(line)
            # No role runs in these tests, which is a finding of its own.
            if finding["what"].startswith(
                (*NOT_DURABLE, "no role of this system", "no process was asked")
            ):
                continue
            found.setdefault(finding["severity"], []).append(finding)
        return ended.exit_code, found

    async def set(self, topic: str, name: str, value: str) -> None:
        async with Admin(self.settings.kafka) as admin:
            await admin.alter([ConfigDifference(topic, name, "", value, Severity.WARNING, "")])

    async def add_partition(self, topic: str) -> None:
        client = AIOKafkaAdminClient(bootstrap_servers=self.settings.kafka.servers)
        await client.start()
        await client.create_partitions({topic: NewPartitions(2)})
        await client.close()
        async with asyncio.timeout(20), Admin(self.settings.kafka) as admin:
            while (await admin.partition_counts([topic]))[topic] < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def execute(self, statement: str) -> None:
        conn = await asyncpg.connect(self.variables["ORCH_POSTGRES_DSN"])
        await conn.execute(statement)
        await conn.close()

    async def check(self) -> None:
        """What each role does first."""
        await check_cluster("router", self.settings, installed_pipelines(self.settings.pipelines))


def as_account(dsn: str, role: str) -> str:
    scheme, rest = dsn.split("://", 1)
    return f"{scheme}://{role}:p@{rest.split('@', 1)[1]}"


@pytest.fixture
async def system(kafka_bootstrap: str, postgres_dsn: str) -> System:
    system = System(kafka_bootstrap, await a_database(postgres_dsn))
    ended = await system.run("topics", "apply")
    assert ended.exit_code == 0, ended.output
    await migrate_up(system.settings.postgres.dsn)
    return system


async def test_servers_that_fit_are_one_line_each_and_status_0(system: System) -> None:
    ended = await system.run("doctor")
    lines = ended.stdout.splitlines()

    assert ended.exit_code == 0
    assert lines[0] == "ok       kafka: all topics are as the table says"
    good = [line.split()[1] for line in lines if line.startswith("ok ")]
    assert good == [f"{about}:" for about in (*OF_KAFKA, "rows", *OF_OTHERS)]
    idle, unasked = [line for line in lines if line.startswith("info ")]
    assert "no role of this system has run yet" in idle
    assert "no process was asked whether it is ready: ORCH_METRICS_TARGETS_DIR" in unasked
    warned = [line for line in lines if line.startswith("warning  postgres: ")]
    assert [text for text in NOT_DURABLE if not any(text in line for line in warned)] == []
    assert len(warned) == len(lines) - len(good) - 2 == len(NOT_DURABLE)


async def test_checks_can_be_chosen_and_left_out(system: System) -> None:
    chosen = await system.run("doctor", "--only", "clock", "--only", "services")
    without = await system.run("doctor", "--skip", "services", "--skip", "postgres")
    wrong = await system.run("doctor", "--skip", "service")

    assert [line.split()[1] for line in chosen.stdout.splitlines()] == ["clock:", "services:"]
    assert not {"services:", "postgres:"} & {
        line.split()[1] for line in without.stdout.splitlines()
    }
    assert "registry:" in without.stdout
    assert (wrong.exit_code, "there is no check" in wrong.output) == (2, True)


async def test_snapshots_that_are_not_compacted_stop_every_start_until_they_are_fixed(
    system: System,
) -> None:
    await system.set(system.topics.task_state, "cleanup.policy", "delete")
    await system.set(system.topics.task_events, "retention.bytes", "1000000")

    status, found = await system.doctor()
    assert status == 1
    assert {finding["about"] for finding in found["fatal"]} == {
        system.topics.task_state,
        system.topics.task_events,
    }
    with pytest.raises(TopicsDifferError, match=r"cleanup\.policy is delete, must be compact"):
        await system.check()
    applied = await system.run("topics", "apply")
    assert (applied.exit_code, "0 created" in applied.stdout) == (1, True)

    fixed = await system.run("topics", "apply", "--fix")
    assert f"set cleanup.policy of {system.topics.task_state} to compact" in fixed.stdout
    await system.check()
    assert (await system.doctor())[0] == 0


async def test_a_fix_keeps_what_else_was_set_for_the_topic(system: System) -> None:
    await system.set(system.topics.task_events, "compression.type", "zstd")
    await system.set(system.topics.task_events, "retention.ms", "1000")
    assert (await system.run("topics", "apply", "--fix")).exit_code == 0

    async with Admin(system.settings.kafka) as admin:
        facts = await admin.facts([system.topics.task_events])
    config = facts[system.topics.task_events].config or {}
    assert (config["compression.type"], config["retention.ms"]) == ("zstd", "7776000000")
    assert int(config["max.message.bytes"]) > 4_000_000


async def test_a_shorter_retention_is_a_warning_at_every_start(system: System) -> None:
    await system.set(system.topics.task_events, "retention.ms", "86400000")

    with logged("orchestrator.checks.log") as lines:
        await system.check()
    [line] = [line for line in lines if line["event"] == "server_differs"]
    assert (line["about"], line["log_level"]) == (system.topics.task_events, "warning")
    status, found = await system.doctor()
    assert (status, len(found["warning"])) == (0, 1)


async def test_added_partitions_of_topics_that_are_not_co_partitioned_stop_nobody(
    system: System,
) -> None:
    topics = system.topics
    for topic in (topics.stream, topics.control, dlq(topics.task_created)):
        await system.add_partition(topic)

    await system.check()
    status, found = await system.doctor()
    assert (status, len(found["info"])) == (0, 3)
    assert (await system.run("topics", "apply")).exit_code == 0


async def test_an_added_partition_of_a_co_partitioned_topic_stops_every_start(
    system: System,
) -> None:
    await system.add_partition(system.topics.task_created)

    with pytest.raises(TopicsDifferError, match=r"task-created\.v1: has 2 partitions"):
        await system.check()


async def test_control_records_of_every_partition_are_followed(system: System) -> None:
    topic = system.topics.control
    await system.add_partition(topic)
    heard: list[TaskId] = []
    publisher = Publisher(system.settings.kafka, client_id="t")
    await publisher.open()

    async def send(partition: int, task_id: str) -> None:
        record = Control(kind=ControlKind.CANCEL, task_id=TaskId(task_id), run=1, at=Millis(1))
        await publisher.publish(
            [Outgoing(topic=topic, partition=partition, key=b"k", value=encode(record))]
        )

    await send(1, "before")
    follower = ControlFollower(
        system.settings.kafka,
        topic,
        lambda control: heard.append(control.task_id),
        client_id="t",
        max_bytes=1_000_000,
    )
    async with follower:
        assert heard == ["before"]
        await send(0, "after")
        await send(1, "later")
        async with asyncio.timeout(20):
            while len(heard) < 3:  # noqa: ASYNC110  # another's doing
                await asyncio.sleep(0.02)
    await publisher.close()
    assert set(heard) == {"before", "after", "later"}


@asynccontextmanager
async def an_index(system: System, topic: str) -> AsyncIterator[IndexerParts]:
    """What indexes one dead-letter topic."""
    topics, settings = system.topics, system.settings
    publisher = Publisher(settings.kafka, client_id="t")
    writer = DeadLetterWriter(settings.postgres)
    await publisher.open()
    await writer.open()
    yield IndexerParts(
        group="t",
        kafka=settings.kafka,
        topics=topics,
        dlq_topics=[topic],
        partitions={topic: 1, topics.dlq_actions: 1},
        writer=writer,
        publisher=publisher,
        dead_letters=DeadLetters(publisher, group="t"),
    )
    await writer.close()
    await publisher.close()


async def test_letters_of_an_added_partition_are_indexed(system: System) -> None:
    topic = dlq(system.topics.task_created)
    await system.add_partition(topic)
    async with an_index(system, topic) as parts:
        for text in (b"1", b"2"):
            letter = Outgoing(topic=topic, partition=1, key=b"k", value=text)
            await parts.publisher.publish([letter])
            # A second start goes on from the stored position.
            await Indexer(1, parts).open()

        assert await parts.writer.positions([topic], 1) == {topic: 2}


async def test_letters_of_a_topic_that_was_made_again_are_indexed(system: System) -> None:
    topic = dlq(system.topics.task_created)
    letter = Outgoing(topic=topic, partition=0, key=b"k", value=b"v")
    async with an_index(system, topic) as parts:
        await parts.publisher.publish([letter] * 5)
        await Indexer(0, parts).open()
        assert await parts.writer.positions([topic], 0) == {topic: 5}
        await make_again(system.settings.kafka, topic, partitions=1)
        await parts.publisher.publish([letter])

        with logged("agents.letters.indexer.log") as lines:
            await Indexer(0, parts).open()

        assert await parts.writer.positions([topic], 0) == {topic: 1}
    assert "index_position_beyond_end" in {line["event"] for line in lines}


async def test_a_cluster_made_with_other_settings_is_said_in_few_columns(system: System) -> None:
    ended = await system.run("topics", "apply", ORCH_TOPICS_PARTITIONS="12")

    assert ended.exit_code == 1
    assert "set ORCH_TOPICS_PARTITIONS=1 in every process" in ended.stdout
    assert len(ended.stdout) < 300


async def test_more_copies_than_brokers_name_the_setting(system: System) -> None:
    ended = await system.run(
        "topics", "apply", ORCH_TOPICS_PREFIX="three.", ORCH_TOPICS_REPLICATION_FACTOR="3"
    )

    assert ended.exit_code == 1
    assert getattr(ended.exception, "code", "") == "TOPIC_NOT_CREATED"
    assert "ORCH_TOPICS_REPLICATION_FACTOR (3)" in str(ended.exception)


async def test_the_list_of_topics_shows_what_exists_beside_the_table(system: System) -> None:
    ended = await system.run("topics", "list", ORCH_TOPICS_PARTITIONS="12", COLUMNS="200")

    [line] = [line for line in ended.stdout.splitlines() if "dlq" not in line and "task-cr" in line]
    assert re.split("  +", line)[1:3] == ["1, not 12", "1"]


async def test_the_list_of_topics_is_json_with_what_is_beside_what_should_be(
    system: System,
) -> None:
    missing = await system.run("topics", "list", "-o", "json", ORCH_TOPICS_PREFIX="missing.")
    await system.run("topics", "apply")
    changed = ConfigDifference(
        system.topics.control, "retention.ms", "", "1000", Severity.WARNING, ""
    )
    async with Admin(system.settings.kafka) as admin:
        await admin.alter([changed])
    ended = await system.run("topics", "list", "-o", "json", ORCH_TOPICS_PARTITIONS="12")
    shown = {topic["name"]: topic for topic in map(json.loads, ended.stdout.splitlines())}

    created = shown[system.topics.task_created]
    assert created["exists"] is True
    assert created["partitions"] == {"wanted": 12, "found": 1}
    assert created["copies"] == {"wanted": 1, "found": 1}
    assert created["config"] == []
    assert shown[system.topics.control]["config"] == [
        {"name": "retention.ms", "found": "1000", "wanted": "259200000"}
    ]
    assert {json.loads(line)["exists"] for line in missing.stdout.splitlines()} == {False}


async def test_without_a_setting_topics_have_as_many_copies_as_there_are_brokers(
    system: System,
) -> None:
    del system.variables["ORCH_TOPICS_REPLICATION_FACTOR"]
    applied = await system.run("topics", "apply")
    _, found = await system.doctor()
    listed = await system.run("topics", "list", "-o", "json")

    assert applied.exit_code == 0, applied.output
    assert "replication" not in applied.stdout.lower()
    assert "fatal" not in found
    assert all(
        json.loads(line)["copies"] == {"wanted": 1, "found": 1}
        for line in listed.stdout.splitlines()
    )


async def test_a_database_without_the_schema_is_fatal_with_the_command(
    system: System, postgres_dsn: str
) -> None:
    system.variables["ORCH_POSTGRES_DSN"] = await a_database(postgres_dsn)
    status, found = await system.doctor()

    assert status == 1
    assert [finding["fix"] for finding in found["fatal"]] == ["orchestrator migrate up"]


async def test_rights_that_are_missing_are_named(system: System) -> None:
    dsn = system.variables["ORCH_POSTGRES_DSN"]
    role = f"doctor_{uuid.uuid4().hex[:8]}"
    await system.execute(
        f"CREATE ROLE {role} LOGIN PASSWORD 'p'; GRANT USAGE ON SCHEMA ai_orchestrator TO {role};"
        f"GRANT SELECT ON ALL TABLES IN SCHEMA ai_orchestrator TO {role}"
    )
    system.variables["ORCH_POSTGRES_DSN"] = as_account(dsn, role)
    status, found = await system.doctor()
    system.variables["ORCH_POSTGRES_DSN"] = dsn
    await system.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")

    assert status == 0
    [finding] = found["warning"]
    assert "INSERT on tasks" in finding["what"]
    assert "ownership of tasks" in finding["what"]
    assert "SELECT on tasks" not in finding["what"]


async def test_an_account_without_any_right_is_one_finding_that_lists_them(
    system: System,
) -> None:
    dsn = system.variables["ORCH_POSTGRES_DSN"]
    role = f"doctor_{uuid.uuid4().hex[:8]}"
    await system.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'p'")
    system.variables["ORCH_POSTGRES_DSN"] = as_account(dsn, role)
    status, found = await system.doctor()
    system.variables["ORCH_POSTGRES_DSN"] = dsn
    await system.execute(f"DROP ROLE {role}")

    assert status == 0
    [finding] = found["warning"]
    assert "SELECT on schema_migrations" in finding["what"]
    assert "USAGE on schema ai_orchestrator" in finding["what"]
    assert "act as the owner" in finding["fix"]


@pytest.mark.parametrize(
    ("variable", "value", "code"),
    [
        ("ORCH_KAFKA_BOOTSTRAP", "127.0.0.1:1", "KAFKA_UNAVAILABLE"),
        ("ORCH_POSTGRES_DSN", "postgresql://a:b@127.0.0.1:1/x", "SINK_UNAVAILABLE"),
    ],
)
async def test_a_server_that_does_not_answer_is_a_finding_beside_the_others(
    system: System, variable: str, value: str, code: str
) -> None:
    system.variables[variable] = value
    status, found = await system.doctor()

    assert (status, len(found["fatal"])) == (1, 1)
    assert code in found["fatal"][0]["what"]
    of_kafka = OF_KAFKA if "POSTGRES" in variable else []
    assert [one["about"] for one in found.get("ok", [])] == [*of_kafka, *OF_OTHERS]


async def test_a_server_whose_address_is_not_set_is_left_out_and_the_other_is_checked(
    system: System,
) -> None:
    await system.run("topics", "apply")
    system.variables["ORCH_POSTGRES_DSN"] = ""
    status, found = await system.doctor()

    assert (status, found.get("fatal")) == (0, None)
    [left_out] = found["warning"]
    assert (left_out["about"], left_out["fix"]) == ("postgres", "set ORCH_POSTGRES_DSN")
    assert "not set" in left_out["what"]
    assert left_out["breaks"] == "nothing by itself; not checked: postgres, rows"
    assert [one["about"] for one in found["ok"]] == [*OF_KAFKA, *OF_OTHERS]


async def test_without_any_address_doctor_says_how_to_start_a_system(system: System) -> None:
    system.variables |= {"ORCH_POSTGRES_DSN": "", "ORCH_KAFKA_BOOTSTRAP": ""}
    ended = await system.run("doctor")

    assert (ended.exit_code, ended.stdout) == (1, "")
    assert str(ended.exception) == NO_SYSTEM


async def test_a_check_that_takes_long_is_named_on_standard_error(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.cli.doctor.QUIET_S", 0.0)
    ended = await system.run("doctor", "-o", "json")

    said = [line for line in ended.stderr.splitlines() if line.startswith("checking ")]
    assert "checking kafka (Kafka) ..." in said
    assert "checking postgres (Postgres) ..." in said


def test_a_finding_is_one_line_for_a_program_and_wrapped_for_a_terminal() -> None:
    finding = Finding(
        severity=Severity.WARNING, about="a.topic", what="x " * 90, breaks="y\nz", fix="do " * 40
    )

    assert "\n" not in finding_text(finding, None)
    lines = finding_text(finding, 80).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert all(line.startswith(" " * 9) for line in lines[1:])
