"""The replay tool against a real Kafka: intent, send, outcome, and every crash in between."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

import msgspec
import pytest

from schemas.dead_letter import (
    REPLAY_HEADERS,
    Failure,
    FailureClass,
    Origin,
    Stage,
    dead_letter_id,
)
from schemas.headers import header_text
from schemas.records import StepName, TaskId
from schemas.topics import DLQ_PREFIX, Topics, TopicsSettings
from streams.kafka.admin import Admin
from streams.kafka.dead_letters import DeadLetters
from streams.kafka.log_reader import LogReader
from streams.kafka.partitioner import partition_of
from streams.kafka.publisher import Outgoing, Publisher
from streams.letters.action_log import ActionLog, new_id
from streams.letters.canary import Canary
from streams.letters.errors import ReplayRunningError, ReplaySupersededError
from streams.letters.lease import LeaseSettings
from streams.letters.replay import Replay, ReplayLimits, ReplayParts
from streams.letters.scan import scan, with_values
from streams.settings import KafkaSettings
from tasks.letters.filter import LetterFilter
from tasks.letters.known import KnownLetters
from tasks.letters.ledger import LetterStatus, state_from
from tasks.letters.plan import ReplayOrder
from tests.letters.load import RANDOM_RECORDS

GROUP = "orchestrator.router"
FAILURE = Failure(
    stage=Stage.DECODE, failure_class=FailureClass.POISON, code="MAGIC_UNKNOWN", message="why"
)
QUICK = ReplayLimits(lease=LeaseSettings(heartbeat_s=0.2, silence_s=1.0))
EVERYTHING = LetterFilter()


class NoRows:
    async def write(
        self, partition: int, task_ids: Sequence[TaskId]
    ) -> Mapping[TaskId, str | None] | None:
        return dict.fromkeys(task_ids)


class KilledError(Exception):
    pass


class KilledPublisher(Publisher):
    """Dies around the publication of replayed records, as a process that is killed does."""

    def __init__(self, kafka: KafkaSettings, *, topics: Topics, after: bool) -> None:
        super().__init__(kafka, client_id="killed")
        self._actions, self._after = topics.dlq_actions, after

    async def publish(self, records: Sequence[Outgoing]) -> list[int]:
        replayed = any(record.topic != self._actions for record in records)
        if replayed and not self._after:
            raise KilledError
        offsets = await super().publish(records)
        if replayed:
            raise KilledError
        return offsets


@dataclass
class Place:
    """A system of its own on the shared broker: topics, and nobody who reads them."""

    kafka: KafkaSettings
    topics: Topics
    dlq_topics: list[str]
    publisher: Publisher
    reader: LogReader

    async def dead_letter(self, origins: Sequence[Origin]) -> list[str]:
        await DeadLetters(self.publisher, group=GROUP).publish([(o, FAILURE) for o in origins])
        return [dead_letter_id(origin, GROUP) for origin in origins]

    async def all_letters(self) -> KnownLetters:
        log = ActionLog(self.reader, self.topics)
        await log.catch_up()
        return KnownLetters(await scan(self.reader, self.dlq_topics, self.topics), log.ledger)

    async def replay(
        self,
        chosen: LetterFilter = EVERYTHING,
        *,
        limits: ReplayLimits = QUICK,
        publisher: Publisher | None = None,
        force: bool = False,
    ) -> tuple[str, dict[str, int]]:
        letters = await scan(self.reader, self.dlq_topics, self.topics)
        publisher = publisher or self.publisher
        log = ActionLog(self.reader, self.topics, publisher)
        order = ReplayOrder(replay_id=new_id(), actor="ada", reason="mended", force=force)
        replayed = Replay(self.parts(log, publisher), order, limits)
        outcome = await replayed.run(KnownLetters(letters, log.ledger), chosen)
        return outcome, {name: count for name, count in replayed.counts.items() if count}

    def parts(self, log: ActionLog, publisher: Publisher) -> ReplayParts:
        return ReplayParts(
            topics=self.topics,
            router_group=GROUP,
            reader=self.reader,
            log=log,
            publisher=publisher,
            rows=NoRows(),
            canary=Canary(self.reader, self.kafka, self.topics, []),
            progress=lambda _: None,
        )

    async def records(self, topic: str) -> list[Origin]:
        found: list[Origin] = []
        for partition in await self.reader.partitions(topic):
            first, end = await self.reader.bounds(topic, partition)
            async for records in self.reader.read(topic, partition, first, end):
                found += records
        return found


@pytest.fixture
async def place(kafka_bootstrap: str) -> AsyncIterator[Place]:
    async with a_place(kafka_bootstrap) as made:
        yield made


@asynccontextmanager
async def a_place(bootstrap: str) -> AsyncIterator[Place]:
    kafka = KafkaSettings(bootstrap=bootstrap)
    topics = Topics(
        TopicsSettings(prefix=f"r{uuid.uuid4().hex[:8]}.", partitions=2, replication_factor=1)
    )
    wanted = {topics.task_created, topics.task_commands, topics.dlq_actions}
    table = [
        topic
        for topic in topics.table([StepName("s")])
        if topic.name.removeprefix(DLQ_PREFIX) in wanted
    ]
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(Admin(kafka))
        await admin.apply(table)
        reader = await stack.enter_async_context(LogReader(kafka, client_id="test"))
        publisher = Publisher(kafka, client_id="test")
        await publisher.open()
        stack.push_async_callback(publisher.close)
        dlq_topics = [topic.name for topic in table if topic.name.startswith(DLQ_PREFIX)]
        yield Place(kafka, topics, dlq_topics, publisher, reader)


def some_origins(topics: Topics, count: int, seed: int = 1) -> list[Origin]:
    """Records as hostile as Kafka takes them: binary keys, nulls, repeated and odd headers."""
    rng = random.Random(seed)
    names = ["a", "a", "traceparent", "ce_id", "", "ä", "__dlq.id", "__dlq.replay.of"]

    def some_bytes(most: int) -> bytes | None:
        return None if rng.random() < 0.1 else rng.randbytes(rng.randrange(most))

    return [
        Origin(
            topic=topics.task_created,
            partition=rng.randrange(2),
            offset=offset,
            timestamp_ms=1_700_000_000_000 + offset,
            key=some_bytes(20),
            value=some_bytes(200),
            headers=tuple((rng.choice(names), some_bytes(12)) for _ in range(rng.randrange(6))),
        )
        for offset in range(count)
    ]


async def test_random_records_survive_the_dead_letter_topic_and_a_replay_byte_for_byte(
    place: Place,
) -> None:
    origins = some_origins(place.topics, RANDOM_RECORDS)
    ids = await place.dead_letter(origins)

    outcome, counts = await place.replay()
    found = {
        header_text(r.headers, "__dlq.replay.of"): r
        for r in await place.records(place.topics.task_created)
    }
    assert (outcome, counts) == ("finished", {"sent": len(origins)})
    for letter_id, origin in zip(ids, origins, strict=True):
        record = found[letter_id]
        assert (record.key, record.value) == (origin.key, origin.value)
        assert record.headers[: len(origin.headers)] == origin.headers
        assert tuple(n for n, _ in record.headers[len(origin.headers) :]) == REPLAY_HEADERS
        home = origin.partition if origin.key is None else partition_of(origin.key, 2)
        assert record.partition == home


@pytest.mark.parametrize("after", [False, True], ids=["before the send", "after the send"])
async def test_a_replay_killed_around_a_send_is_finished_by_the_next_one_and_nothing_is_sent_twice(
    place: Place, after: bool
) -> None:
    ids = await place.dead_letter(some_origins(place.topics, 40))
    killed = KilledPublisher(place.kafka, topics=place.topics, after=after)
    await killed.open()
    with pytest.raises(KilledError):
        await place.replay(publisher=killed)
    await killed.close()

    outcome, counts = await place.replay()
    sent = [
        header_text(r.headers, "__dlq.replay.of")
        for r in await place.records(place.topics.task_created)
    ]
    assert sorted(map(str, sent)) == sorted(ids)
    assert outcome == "finished"
    assert counts.get("found_sent", 0) == (40 if after else 0)


async def test_what_was_replayed_is_not_replayed_again_without_force(place: Place) -> None:
    await place.dead_letter(some_origins(place.topics, 5))
    await place.replay()

    _, again = await place.replay()
    _, forced = await place.replay(force=True)
    assert (again, forced) == ({"replaying": 5}, {"sent": 5})


async def test_a_replay_does_not_start_while_another_one_shows_signs_of_life(
    place: Place,
) -> None:
    await place.dead_letter(some_origins(place.topics, 20))
    slow = replace(QUICK, rate_per_s=2.0)
    first = asyncio.create_task(place.replay(limits=slow))
    async with a_second(place) as second:
        await until_running(second)

        with pytest.raises(ReplayRunningError):
            await second.replay()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)


async def test_a_replay_that_was_taken_for_dead_sends_nothing_more(place: Place) -> None:
    await place.dead_letter(some_origins(place.topics, 20))
    silent = ReplayLimits(lease=LeaseSettings(heartbeat_s=60.0, silence_s=0.4))
    # One record, then nothing for 4 s: much longer than what counts as silence.
    first = asyncio.create_task(place.replay(limits=replace(silent, rate_per_s=0.25)))
    async with a_second(place) as second:
        await until_running(second)
        await second.replay(limits=silent)

        with pytest.raises(ReplaySupersededError):
            await first
        sent = [
            header_text(r.headers, "__dlq.replay.of")
            for r in await second.records(place.topics.task_created)
        ]
    assert len(sent) == len(set(sent)) == 20


async def test_letters_found_without_values_are_read_from_their_places(place: Place) -> None:
    ids = await place.dead_letter(some_origins(place.topics, 30))
    slim = await scan(place.reader, place.dlq_topics, place.topics, values=False)
    wanted = [letter for letter in slim if letter.id in ids[::3]]
    moved = [replace(wanted[0], id="another letter now"), replace(wanted[1], dlq_offset=10_000)]

    found = await with_values(place.reader, [*wanted[2:], *moved], place.topics)
    whole = {x.id: x for x in await scan(place.reader, place.dlq_topics, place.topics)}
    assert sorted(x.id for x in found) == sorted(x.id for x in wanted[2:])
    assert all(letter == whole[letter.id] for letter in found)
    assert await with_values(place.reader, [], place.topics) == []


async def test_letters_that_are_only_there_to_be_counted_from_are_not_sent(place: Place) -> None:
    ids = await place.dead_letter(some_origins(place.topics, 6))
    log = ActionLog(place.reader, place.topics, place.publisher)
    order = ReplayOrder(replay_id=new_id(), actor="ada", reason="mended")
    replayed = Replay(place.parts(log, place.publisher), order, QUICK)
    letters = [known.letter for known in (await place.all_letters()).ordered()]

    await replayed.run(KnownLetters(letters, log.ledger), EVERYTHING, among=set(ids[:2]))
    sent = [
        header_text(r.headers, "__dlq.replay.of")
        for r in await place.records(place.topics.task_created)
    ]
    assert sorted(map(str, sent)) == sorted(ids[:2])


async def test_the_history_of_a_letter_needs_not_be_read_from_the_beginning(place: Place) -> None:
    [letter_id] = await place.dead_letter(some_origins(place.topics, 1))
    await place.replay()
    log = ActionLog(place.reader, place.topics)
    await log.catch_up()
    history = await log.history(letter_id)

    assert await log.history(letter_id, since_ms=history[0].at) == history
    assert await log.history(letter_id, since_ms=history[0].at + 7_200_000) == []
    assert state_from(history) == log.ledger.state_of(letter_id)


async def test_max_bounds_what_is_sent(place: Place) -> None:
    await place.dead_letter(some_origins(place.topics, 9))

    _, counts = await place.replay(limits=replace(QUICK, at_most=4))
    assert counts == {"sent": 4, "over_max": 5}


async def test_a_letter_that_came_after_the_start_is_left_for_the_next_replay(
    place: Place,
) -> None:
    await place.dead_letter(some_origins(place.topics, 3))
    all_letters = await place.all_letters()
    await place.dead_letter([msgspec.structs.replace(some_origins(place.topics, 1)[0], offset=99)])
    log = ActionLog(place.reader, place.topics, place.publisher)
    order = ReplayOrder(replay_id=new_id(), actor="ada", reason="mended")
    replayed = Replay(place.parts(log, place.publisher), order, QUICK)
    await replayed.run(
        KnownLetters([c.letter for c in all_letters.ordered()], log.ledger), EVERYTHING
    )

    left = [c for c in (await place.all_letters()).ordered() if c.status is LetterStatus.OPEN]
    assert [known.letter.offset for known in left] == [99]


@asynccontextmanager
async def a_second(place: Place) -> AsyncIterator[Place]:
    """The same place with a reader of its own, as another operator has it."""
    async with LogReader(place.kafka, client_id="second") as reader:
        yield replace(place, reader=reader)


async def until_running(place: Place) -> None:
    async with asyncio.timeout(30):
        log = ActionLog(place.reader, place.topics)
        while not any(state.sent for state in log.ledger.states.values()):
            await asyncio.sleep(0.05)
            await log.catch_up()
