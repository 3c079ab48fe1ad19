"""What a replica follows: begun anew when a topic is another one, and of the right owner."""

import asyncio
import uuid
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.structs import TopicPartition

from orchestrator.api.replica import follower as following_module
from orchestrator.api.replica.follower import ReplicaFollower, ReplicaFollowerParts
from orchestrator.api.replica.live_tasks import LiveTasks
from orchestrator.api.replica.projection import Projection
from schemas.records import EventKind, Millis, TaskEvent, TaskId
from schemas.topics import Topics, TopicsSettings
from sinks.settings import PostgresSettings
from streams.envelopes import event_record
from streams.errors import KafkaUnavailableError, LogLostError
from streams.history.acceptance import Ownership
from streams.kafka.admin import Admin
from streams.kafka.follower import FollowedTooLateError, Follower, Place
from streams.kafka.patience import Patience
from streams.kafka.publisher import Publisher
from streams.ownership.ports import Adoption, Checkpoint, StateRecord
from streams.ownership.state_record import write_state
from streams.settings import KafkaSettings
from tasks.pipeline import Pipelines
from tests.streams.kafka.test_topic_ids import make_again


@dataclass(kw_only=True)
class Logs:
    """Topics of their own, and the parts of a replica on them."""

    parts: ReplicaFollowerParts
    place: Place = field(init=False)

    def __post_init__(self) -> None:
        self.place = (self.parts.topics.task_events, 0)


@pytest.fixture
async def logs(kafka_bootstrap: str) -> Logs:
    settings = TopicsSettings(
        prefix=f"f{uuid.uuid4().hex[:8]}.", partitions=1, replication_factor=1
    )
    kafka, topics = KafkaSettings(bootstrap=kafka_bootstrap), Topics(settings)
    async with Admin(kafka) as admin:
        await admin.apply(topics.table([]))
    return Logs(
        parts=ReplicaFollowerParts(
            kafka=kafka,
            topics=topics,
            pipelines=Pipelines([]),
            router_group=f"{settings.prefix}router",
            live=LiveTasks(topics, ended_max=10),
            projection=Projection(PostgresSettings()),
        )
    )


async def test_a_followed_topic_that_is_made_again_is_followed_too_late(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following_module, "_LOOK_AT_TOPICS_S", 0.05)
    topic = logs.parts.topics.task_commands
    watching = asyncio.create_task(ReplicaFollower(logs.parts)._watch_topics({topic}))

    async with asyncio.timeout(30):
        # The first time may be before the first look.
        while not watching.done():
            await make_again(logs.parts.kafka, topic, 1)

    with pytest.raises(FollowedTooLateError, match=topic):
        watching.result()


class Former(Follower):
    """One that has ended, and only knows how far it came."""

    def __init__(self, positions: dict[Place, int]) -> None:
        self._positions = positions


class Scripted(ReplicaFollower):
    """Fails as a test wants; keeps from where it was to follow."""

    def __init__(self, parts: ReplicaFollowerParts, place: Place, error: Exception) -> None:
        super().__init__(parts)
        self.place, self.error = place, error
        self.loads = 0
        self.followed: list[dict[Place, int]] = []
        self.twice = asyncio.Event()

    async def _load(self) -> dict[Place, int]:
        self.loads += 1
        if self.loads == 2:
            raise KafkaUnavailableError("a hiccup")
        return {self.place: self.loads}

    async def _follow(self, starts: dict[Place, int], patience: Patience) -> None:
        self.followed.append(dict(starts))
        if len(self.followed) == 2:
            self.twice.set()
        self._follower = Former({self.place: 70})
        raise self.error


@pytest.mark.parametrize("error", [FollowedTooLateError("again"), LogLostError("shorter")])
async def test_positions_of_a_former_life_are_not_used_after_a_hiccup(
    logs: Logs, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(following_module, "_RESTART_S", 0.0)
    scripted = Scripted(logs.parts, logs.place, error)
    running = asyncio.create_task(scripted._keep_following())
    async with asyncio.timeout(20):
        await scripted.twice.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert scripted.followed[:2] == [{logs.place: 1}, {logs.place: 3}]


def an_event(sequence: int, by: Ownership, **changes: Any) -> TaskEvent:
    facts: dict[str, Any] = {
        "event_id": f"e{sequence}",
        "task_id": TaskId("task_1"),
        "tenant_id": "acme",
        "kind": EventKind.STARTED,
        "run": 1,
        "sequence": sequence,
        "occurred_at": Millis(5),
        "owner": by.owner,
        "owner_epoch": by.epoch,
    }
    return TaskEvent(**(facts | changes))


async def test_the_owner_of_a_log_whose_markers_were_given_up_is_found_as_owners_find_it(
    logs: Logs,
) -> None:
    kafka, topics = logs.parts.kafka, logs.parts.topics
    former, successor = Ownership(1, "former"), Ownership(2, "successor")
    async with Admin(kafka) as admin:
        ids = await admin.topic_ids([topics.task_events])
    assert ids is not None
    marker = an_event(0, successor, kind=EventKind.OWNERSHIP_TAKEN, task_id=TaskId(""))
    checkpoint = Checkpoint(offset=0, state_from=0, decided_created=-1, partitions=1)
    adoption = Adoption(
        topic=topics.task_events,
        topic_id=ids[topics.task_events],
        made_again=False,
        log_start=1,
        actor="an operator",
        reason="given up",
        at=5,
    )
    publisher = Publisher(kafka, client_id="test")
    await publisher.open()
    await publisher.publish(
        [event_record(topics, 0, e, {}) for e in (marker, an_event(2, successor))]
    )
    await publisher.publish(
        [
            write_state(topics.task_state, 0, StateRecord(checkpoint, former)),
            write_state(topics.task_state, 0, StateRecord(adoption, Ownership(0, "an operator"))),
        ]
    )
    await publisher.close()
    client = AIOKafkaAdminClient(bootstrap_servers=kafka.servers)
    await client.start()
    await client.delete_records({TopicPartition(*logs.place): RecordsToDelete(before_offset=1)})
    await client.close()

    starts = await ReplicaFollower(logs.parts)._load()

    assert starts[logs.place] == 1
    assert logs.parts.live._ownership[0] == successor
