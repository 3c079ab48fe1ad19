"""On a secured cluster of three nodes, one dies under load, then another: nothing is lost."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import pytest_asyncio

from orchestrator.local.embedded.kafka import EmbeddedKafka
from orchestrator.local.embedded.postgres import EmbeddedPostgres
from schemas.topics import Topics, TopicsSettings
from streams.kafka.admin import Admin
from streams.kafka.log_reader import LogReader
from streams.kafka.publisher import Outgoing, Publisher
from tasks.pipeline_file import load_pipelines
from tests.chaos.chaos import Chaos
from tests.chaos.form import form_from_environment
from tests.chaos.load import faults
from tests.chaos.watch import open_watch
from tests.e2e.driving import a_database
from tests.secured.cluster import NODES, SecuredCluster, rack_of, secured_cluster
from tests.secured.system import open_secured_system

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(server_dir: Path) -> AsyncIterator[SecuredCluster]:
    async with secured_cluster(server_dir / "cluster") as cluster:
        yield cluster


async def test_a_reader_is_served_by_the_replica_in_its_rack(cluster: SecuredCluster) -> None:
    """Logs are read across availability zones for nothing otherwise."""
    one = Topics(TopicsSettings(prefix="racks.", partitions=1, replication_factor=3))
    topic = one.task_events
    async with Admin(cluster.kafka.open) as admin:
        await admin.apply([row for row in one.table([]) if row.name == topic], one.settings)
        [described] = await admin._client.describe_topics([topic])
    publisher = Publisher(cluster.kafka.open, client_id="racks")
    await publisher.open()
    await publisher.publish([Outgoing(topic=topic, partition=0, key=b"k", value=b"v")])
    await publisher.close()
    follower = next(n for n in NODES if n != described["partitions"][0]["leader"])
    near = replace(cluster.kafka.open, client_rack=rack_of(follower))
    async with LogReader(near, client_id="near") as reader:
        read = [batch async for batch in reader.read(topic, 0, 0, 1)]
        preferred = reader._consumer._fetcher._preferred_read_replica
    assert len(read) == 1
    assert [node for node, _until in preferred.values()] == [follower]


async def test_nothing_is_lost_when_one_node_after_the_other_dies(
    cluster: SecuredCluster, postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    form = form_from_environment()
    dsn = await a_database(postgres_server.dsn)
    variables = {
        "ORCH_TOPICS_PARTITIONS": str(form.partitions),
        "ORCH_TOPICS_REPLICATION_FACTOR": "3",
        "ORCH_KAFKA_SESSION_TIMEOUT_S": "6",
        "ORCH_DEMO_FAULTS": json.dumps(faults(form.call_s)),
    }
    async with open_secured_system(cluster.kafka, dsn, tmp_path, **variables) as secured:
        topics = Topics(secured.running.system.settings.topics)
        steps = load_pipelines().step_names
        followed = [topics.task_events, *(lane for step in steps for lane in topics.lanes(step))]
        counts = dict.fromkeys(followed, form.partitions)
        async with open_watch(cluster.kafka.open_bootstrap, counts) as watch:
            # No fault of this test is one of the only broker.
            one_broker = cast(EmbeddedKafka, None)
            chaos = Chaos(secured.running, watch, form, one_broker, postgres_server)
            async with chaos.load("cluster") as load:
                for number in NODES[:2]:
                    in_flight = await chaos.enough(load)
                    assert in_flight >= form.in_flight
                    await cluster.kill(number)
                    ended = len(watch.ended)
                    # Work goes on with two nodes: as many end as were in flight.
                    await watch.until(
                        lambda ended=ended: len(watch.ended) >= ended + form.in_flight,  # type: ignore[misc]
                        timeout_s=150,
                    )
                    await cluster.start(number)
            await chaos.check(load)
