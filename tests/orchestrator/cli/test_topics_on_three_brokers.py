"""``orchestrator topics apply`` on a cluster of three brokers, without a setting for copies."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from orchestrator.local.embedded.jars import fetch_kafka_jars
from orchestrator.local.embedded.java import bundled_java, find_java
from orchestrator.local.embedded.kafka import EmbeddedKafka
from orchestrator.local.embedded.kafka_config import JVM_FLAGS, server_properties
from orchestrator.local.embedded.ports import choose_ports
from orchestrator.local.embedded.process import Child
from orchestrator.local.embedded.settings import default_cache_path
from tests.commands import Ended, run_command

WAIT_S = 60.0


def properties_of(first: EmbeddedKafka, number: int, folder: Path) -> tuple[Path, str]:
    """The configuration of a broker whose only controller is the first node, and its address."""
    folder.mkdir()
    controller = json.loads((first.data_dir / "ports.json").read_text())["controller"]
    port = choose_ports(folder / "ports.json", {"kafka": 0})["kafka"]
    # The later line of a name wins.
    roles = f"process.roles=broker\nnode.id={number}\nlisteners=CLIENT://127.0.0.1:{port}\n"
    properties = folder / "server.properties"
    properties.write_text(server_properties(port=port, controller_port=controller) + roles)
    return properties, f"127.0.0.1:{port}"


@asynccontextmanager
async def one_broker_more(first: EmbeddedKafka, number: int, folder: Path) -> AsyncIterator[str]:
    """A broker that joins the cluster of the first node; yields its address."""
    properties, address = properties_of(first, number, folder)
    cluster_id = json.loads((first.data_dir / "formatted.json").read_text())["cluster_id"]
    java = await asyncio.to_thread(find_java, os.environ, bundled=bundled_java())
    jars = await asyncio.to_thread(fetch_kafka_jars, default_cache_path())

    def child(*main: str) -> Child:
        return Child(
            f"kafka-{number}",
            [java.executable, *JVM_FLAGS, "-cp", f"{jars}/*", *main],
            env=dict(os.environ),
            log_path=folder / "kafka.log",
            cwd=folder,
        )

    options = ("--cluster-id", cluster_id, "--no-initial-controllers", "--config", str(properties))
    formatting = child("kafka.tools.StorageTool", "format", *options)
    formatting.start()
    assert await formatting.wait(WAIT_S) == 0, formatting.log_tail()
    broker = child("kafka.Kafka", str(properties))
    broker.start()
    try:
        yield address
    finally:
        broker.kill()
        await broker.wait(WAIT_S)


async def until_it_knows(count: int, address: str) -> None:
    """Until a broker answers itself, and knows so many brokers."""
    async with asyncio.timeout(WAIT_S):
        while await known_by(address) < count:  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.1)


async def known_by(address: str) -> int:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    try:
        await admin.start()
        return len((await admin.describe_cluster())["brokers"])
    except KafkaError:
        return 0
    finally:
        await admin.close()


async def test_topics_have_three_copies_on_three_brokers_and_need_two_of_them(
    server_dir: Path,
) -> None:
    first = EmbeddedKafka(server_dir / "three-1")
    async with AsyncExitStack() as brokers:
        await first.start()
        brokers.push_async_callback(first.kill)
        addresses = [first.bootstrap]
        for number in (2, 3):
            more = one_broker_more(first, number, server_dir / f"three-{number}")
            addresses.append(await brokers.enter_async_context(more))
        for address in addresses:
            await until_it_knows(3, address)
        variables = {"ORCH_KAFKA_BOOTSTRAP": first.bootstrap, "ORCH_TOPICS_PARTITIONS": "1"}

        applied, listed, examined = [
            await asyncio.to_thread(run_command, arguments, variables)
            for arguments in (("topics", "apply"), ("topics", "list", "-o", "json"), ("doctor",))
        ]

    assert (applied.status, applied.err) == (0, "")
    topics = listed.documents
    assert {(topic["copies"]["wanted"], topic["copies"]["found"]) for topic in topics} == {(3, 3)}
    assert [topic["config"] for topic in topics if topic["config"]] == []
    assert said_of_kafka(examined) == "ok       kafka: all topics are as the table says"


def said_of_kafka(examined: Ended) -> str:
    [line] = [line for line in examined.out.splitlines() if " kafka: " in line]
    return line
