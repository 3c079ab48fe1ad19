"""Three secured Kafka nodes, each a broker and a controller; any of them may die.

Brokers know each other by certificates. On two of three nodes everything goes on: topics have
three copies, a write needs two of them, and two controllers elect a leader.
"""

from __future__ import annotations

import asyncio
import base64
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from orchestrator.local.embedded.jars import fetch_kafka_jars
from orchestrator.local.embedded.java import bundled_java, find_java
from orchestrator.local.embedded.kafka_config import JVM_FLAGS, server_properties
from orchestrator.local.embedded.process import Child
from orchestrator.local.embedded.settings import default_cache_path
from tests.secured.broker import (
    LISTENERS,
    SecuredKafka,
    free_ports,
    secured_properties,
    write_certificates,
)

NODES = (1, 2, 3)
WAIT_S = 120.0
_COPIES = {
    "default.replication.factor": 3,
    "min.insync.replicas": 2,
    "offsets.topic.replication.factor": 3,
    "transaction.state.log.replication.factor": 3,
    "transaction.state.log.min.isr": 2,
    "share.coordinator.state.topic.replication.factor": 3,
    "share.coordinator.state.topic.min.isr": 2,
}


@dataclass(frozen=True)
class Node:
    """One node: its ports and its process."""

    number: int
    open_port: int
    controller_port: int
    ports: dict[str, int]
    directory_id: str
    child: Child

    @property
    def voter(self) -> str:
        """As the first format of a cluster names its controllers."""
        return f"{self.number}@127.0.0.1:{self.controller_port}:{self.directory_id}"


@dataclass(frozen=True)
class SecuredCluster:
    """The nodes, and the addresses of all of them."""

    nodes: dict[int, Node]
    kafka: SecuredKafka

    async def kill(self, number: int) -> None:
        """SIGKILL a node."""
        self.nodes[number].child.kill()
        await self.nodes[number].child.wait(WAIT_S)

    async def start(self, number: int) -> None:
        """Start a node that was killed, and wait until all copies are in sync again."""
        self.nodes[number].child.start()
        await self.until_in_sync()

    async def until_in_sync(self) -> None:
        """Wait until every node is there and no partition lacks a copy."""
        async with asyncio.timeout(WAIT_S):
            while not await self._in_sync():  # noqa: ASYNC110  # other processes
                await asyncio.sleep(0.3)

    async def _in_sync(self) -> bool:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka.open_bootstrap)
        try:
            await admin.start()
            brokers = (await admin.describe_cluster())["brokers"]
            topics = await admin.describe_topics()
        except KafkaError:
            return False
        finally:
            await admin.close()
        partitions = [p for topic in topics for p in topic["partitions"]]
        return len(brokers) == len(NODES) and all(
            len(p["isr"]) == len(p["replicas"]) and p["leader"] >= 0 for p in partitions
        )


@asynccontextmanager
async def secured_cluster(folder: Path) -> AsyncIterator[SecuredCluster]:
    """Start three nodes; all are killed at the end."""
    write_certificates(folder)
    nodes = [await _node(number, folder) for number in NODES]
    cluster_id, voters = _an_id(), ",".join(node.voter for node in nodes)
    for node in nodes:
        _write_properties(node, nodes, folder)
        await _format(node, folder, cluster_id, voters)
    kafka = SecuredKafka(
        ",".join(f"127.0.0.1:{node.open_port}" for node in nodes),
        {name: ",".join(f"127.0.0.1:{n.ports[name]}" for n in nodes) for name in LISTENERS},
        folder,
    )
    cluster = SecuredCluster({node.number: node for node in nodes}, kafka)
    try:
        for node in nodes:
            node.child.start()
        await cluster.until_in_sync()
        yield cluster
    finally:
        for node in nodes:
            node.child.kill()
            await node.child.wait(WAIT_S)


async def _node(number: int, folder: Path) -> Node:
    home = folder / f"node-{number}"
    home.mkdir()
    open_port, controller_port, *ports = free_ports(2 + len(LISTENERS))
    child = await _java(home, "kafka.Kafka", "server.properties")
    by_name = dict(zip(LISTENERS, ports, strict=True))
    return Node(number, open_port, controller_port, by_name, _an_id(), child)


async def _java(home: Path, *main: str) -> Child:
    java = await asyncio.to_thread(find_java, os.environ, bundled=bundled_java())
    jars = await asyncio.to_thread(fetch_kafka_jars, default_cache_path())
    return Child(
        home.name,
        [java.executable, *JVM_FLAGS, "-cp", f"{jars}/*", *main],
        env=dict(os.environ),
        log_path=home / "kafka.log",
        cwd=home,
    )


def rack_of(number: int) -> str:
    """The rack of a node."""
    return f"rack-{number}"


def _write_properties(node: Node, nodes: list[Node], folder: Path) -> None:
    quorum = ",".join(f"127.0.0.1:{other.controller_port}" for other in nodes)
    own = {
        "node.id": node.number,
        "broker.rack": rack_of(node.number),
        "replica.selector.class": "org.apache.kafka.common.replica.RackAwareReplicaSelector",
        "controller.quorum.bootstrap.servers": quorum,
        "inter.broker.listener.name": "MUTUAL",
        **_COPIES,
    }
    text = server_properties(port=node.open_port, controller_port=node.controller_port)
    text += secured_properties(folder, node.open_port, node.controller_port, node.ports)
    text += "".join(f"{name}={value}\n" for name, value in own.items())
    (folder / f"node-{node.number}" / "server.properties").write_text(text)


async def _format(node: Node, folder: Path, cluster_id: str, voters: str) -> None:
    options = ("-t", cluster_id, "-c", "server.properties", "--initial-controllers", voters)
    home = folder / f"node-{node.number}"
    formatting = await _java(home, "kafka.tools.StorageTool", "format", *options)
    formatting.start()
    assert await formatting.wait(WAIT_S) == 0, formatting.log_tail()


def _an_id() -> str:
    """A random id in Kafka's form; one that begins with ``-`` would be read as an option."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))[0] == "-":
        pass
    return text
