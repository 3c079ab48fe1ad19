"""Streams: every sequence once and in order, wherever the client was cut off."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
import websockets

from orchestrator.api.access.access import Access
from orchestrator.api.access.caller import Caller
from orchestrator.api.access.key_ring import KeyRing
from orchestrator.api.access.keys import Keys
from orchestrator.api.server import Serving, open_service
from orchestrator.api.tasks.queries import TaskQueries
from orchestrator.api.tasks.views.event import EventView, event_view
from orchestrator.api.tasks.views.task import live_view, stored_view
from orchestrator.api.tasks.watch import TaskWatch
from orchestrator.api.use_cases import UseCases
from orchestrator.settings import load_settings
from schemas.codec import encode
from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from schemas.records import ChunkKind, Millis, StepName, StreamChunk, TaskId
from schemas.topics import Topics
from tests.api.calling import (
    ACME,
    KEYS,
    WAIT_S,
    Replica,
    Served,
    a_body,
    a_create,
    as_tenant,
    sse,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

TASKS = 200
CALLER = Caller("acme", "test")
Seen = tuple[int, str]
Read = Callable[[Replica, str, int, int], Awaitable[list[Seen]]]


async def over_grpc(replica: Replica, task_id: str, after: int, most: int) -> list[Seen]:
    request = pb.WatchTaskRequest(task_id=task_id, after_sequence=after)
    call = replica.stub.WatchTask(request, metadata=ACME)
    seen: list[Seen] = []
    async for item in call:
        if item.HasField("event"):
            seen.append((item.event.sequence, item.event.kind))
        if len(seen) == most:
            call.cancel()
            break
    return seen


async def over_sse(replica: Replica, task_id: str, after: int, most: int) -> list[Seen]:
    headers = {"Last-Event-ID": str(after)} if after else {}
    seen: list[Seen] = []
    client = replica.shared("acme")
    async with client.stream("GET", f"/api/v1/tasks/{task_id}/events", headers=headers) as answer:
        if answer.status_code == 204:
            return []
        async for number, name, data in sse(answer):
            if name == "event":
                assert number == data["sequence"]
                seen.append((data["sequence"], data["kind"]))
            if len(seen) == most:
                break
    return seen


async def over_websocket(replica: Replica, task_id: str, after: int, most: int) -> list[Seen]:
    seen: list[Seen] = []
    headers = {"Authorization": f"Bearer {KEYS['acme']}"}
    url = f"{replica.url.replace('http', 'ws')}/api/v1/ws"
    async with websockets.connect(url, additional_headers=headers) as socket:
        await socket.send(json.dumps({"action": "subscribe", "task_id": task_id, "after": after}))
        async for text in socket:
            item = json.loads(text)
            if item["type"] == "event":
                seen.append((item["sequence"], item["kind"]))
            if item["type"] == "ended" or len(seen) == most:
                break
    return seen


async def test_a_client_that_is_cut_off_at_random_points_sees_every_sequence_once(
    served: Served,
) -> None:
    batch = pb.BatchCreateTasksRequest(tasks=[a_create() for _ in range(TASKS)])
    made = await served.one.stub.BatchCreateTasks(batch, metadata=ACME)
    ids = [answer.task.id for answer in made.tasks]
    ways: list[Read] = [over_grpc, over_sse, over_websocket]
    seed = random.randrange(2**32)
    slots = asyncio.Semaphore(60)

    async def follow(index: int, task_id: str) -> list[Seen]:
        chance, read = random.Random(seed + index), ways[index % len(ways)]
        seen: list[Seen] = []
        async with slots:
            while not seen or seen[-1][1] != "completed":
                replica = chance.choice(served.replicas)
                after = seen[-1][0] if seen else 0
                seen += await read(replica, task_id, after, chance.randint(1, 3))
        return seen

    async with asyncio.timeout(WAIT_S * 2):
        histories = await asyncio.gather(*(follow(i, task_id) for i, task_id in enumerate(ids)))

    for task_id, history in zip(ids, histories, strict=True):
        numbers = [number for number, _ in history]
        assert numbers == list(range(1, len(history) + 1)), f"{task_id}, seed {seed}"


async def test_memory_postgres_and_the_log_tell_the_same_history(
    served: Served, third: Serving
) -> None:
    done = await served.one.stub.CreateTask(a_create(hold=True), metadata=ACME)
    task_id = TaskId(done.task.id)
    watching, _ = use_cases(third)
    # A read would not do to wait for it: the row may be there sooner.
    await served.running.until(lambda: third.parts.live.task(task_id) is not None)
    live = third.parts.live.task(task_id)
    assert live is not None
    await served.one.stub.ExecuteTask(pb.ExecuteTaskRequest(task_id=task_id), metadata=ACME)
    from_memory = await history(watching, task_id)
    await served.running.until(lambda: third.parts.live.task(task_id) is None)
    from_postgres = await history(watching, task_id)
    scanned = await third.parts.log_scan.events(task_id, "acme")
    row = await third.parts.projection.task(task_id)

    assert row is not None
    assert from_memory[-1].kind == "completed"
    assert plain(from_memory) == plain(from_postgres)
    assert plain(from_memory) == plain([event_view(event) for event in scanned])
    assert plain(live_view(live.folded())) == plain(stored_view(row))


async def test_a_replica_that_starts_in_the_midst_of_a_task_knows_all_of_it(
    served: Served,
) -> None:
    hanging = as_tenant("hanging")
    created = await served.one.stub.CreateTask(a_create(), metadata=hanging)
    task_id = created.task.id
    started = await served.one.stub.GetTask(
        pb.GetTaskRequest(task_id=task_id, min_sequence=2), metadata=hanging
    )
    # So many events that its owner writes snapshots.
    batch = pb.BatchCreateTasksRequest(tasks=[a_create(hold=True) for _ in range(400)])
    await served.one.stub.BatchCreateTasks(batch, metadata=ACME)
    environment = {
        **dict(served.running.system.environment),
        "ORCH_API_GRPC_PORT": "0",
        "ORCH_API_HTTP_PORT": "0",
    }

    async with asyncio.timeout(WAIT_S):
        while True:
            async with open_service(load_settings(environment)) as fresh:
                live = fresh.parts.live.task(TaskId(task_id))
                assert live is not None
                if live.first_sequence == 1:
                    continue  # no snapshot yet
                watching, reading = use_cases(fresh)
                caller = Caller("hanging", "test")
                view = await reading.get(caller, task_id)
                items = watching.watch(caller, task_id, 0)
                events = [await anext(items) for _ in range(view.sequence)]
                await items.aclose()
                break

    numbers = [event.sequence for event in events if isinstance(event, EventView)]
    assert [step.name for step in view.steps] == [step.name for step in started.task.steps]
    assert view.steps[0].input is not None
    assert numbers == list(range(1, view.sequence + 1))


async def test_chunks_reach_those_who_watch_over_every_transport(
    served: Served, third: Serving
) -> None:
    created = await served.one.stub.CreateTask(a_create(hold=True), metadata=ACME)
    task_id = TaskId(created.task.id)
    await served.two.stub.GetTask(pb.GetTaskRequest(task_id=task_id, min_sequence=1), metadata=ACME)
    call = served.two.stub.WatchTask(pb.WatchTaskRequest(task_id=task_id), metadata=ACME)
    assert (await call.read()).event.kind == "created"

    topic = Topics(served.running.system.settings.topics).stream
    await served.running.publish(topic, [(task_id.encode(), encode(a_chunk(task_id)))])

    while not (item := await call.read()).HasField("chunk"):
        assert item.heartbeat
    call.cancel()
    assert (item.chunk.step, item.chunk.data) == ("generate", "once upon")


async def test_a_stream_on_which_nothing_happens_says_that_it_lives(served: Served) -> None:
    created = await served.one.stub.CreateTask(a_create(hold=True), metadata=ACME)
    call = served.one.stub.WatchTask(
        pb.WatchTaskRequest(task_id=created.task.id, after_sequence=1), metadata=ACME
    )
    item = await call.read()
    call.cancel()

    assert item.heartbeat


async def test_a_slow_reader_is_told_what_was_left_out_and_misses_no_event(
    served: Served, third: Serving
) -> None:
    created = await served.one.stub.CreateTask(a_create(hold=True), metadata=ACME)
    task_id = TaskId(created.task.id)
    watching, reading = use_cases(third)
    await reading.get(CALLER, task_id, min_sequence=1)
    items = watching.watch(CALLER, task_id, 0)
    first = await anext(items)
    for number in range(third.parts.settings.chunks_max + 5):
        for subscription in third.parts.live._subscriptions[task_id]:
            subscription.push(a_chunk(task_id, number))
    await served.one.stub.CancelTask(pb.CancelTaskRequest(task_id=task_id), metadata=ACME)
    rest = [item async for item in items]

    kinds = [type(item).__name__ for item in rest]
    lagged = [msgspec.to_builtins(item) for item in rest if type(item).__name__ == "LaggedView"]
    assert isinstance(first, EventView)
    assert kinds.count("ChunkView") == third.parts.settings.chunks_max
    assert [item["chunks"] for item in lagged] == [5]
    assert [item.sequence for item in rest if isinstance(item, EventView)] == [2]


async def test_a_stream_that_is_over_tells_event_source_to_stop(served: Served) -> None:
    done = await served.one.stub.CreateAndExecuteTask(a_create(), metadata=ACME, timeout=WAIT_S)
    headers = {"Last-Event-ID": str(done.task.sequence)}
    answer = await served.one.http().get(f"/api/v1/tasks/{done.task.id}/events", headers=headers)

    assert answer.status_code == 204


async def test_a_websocket_cancels_and_unsubscribes(served: Served) -> None:
    created = await served.one.http("hanging").post("/api/v1/tasks", json=a_body())
    task_id = created.json()["task"]["id"]
    url = f"{served.two.url.replace('http', 'ws')}/api/v1/ws"
    protocols = [websockets.Subprotocol("orchestrator.v1")]
    protocols.append(websockets.Subprotocol(f"bearer.{KEYS['hanging']}"))
    types: list[str] = []
    async with websockets.connect(url, subprotocols=protocols) as socket:
        await socket.send(json.dumps({"action": "subscribe", "task_id": task_id}))
        await socket.send(json.dumps({"action": "cancel", "task_id": task_id}))
        await socket.send("no JSON")
        await socket.send(json.dumps({"action": "subscribe", "task_id": "nobody's"}))
        async with asyncio.timeout(WAIT_S):
            while types.count("error") < 2 or "ended" not in types or "cancelled" not in types:
                types.append(json.loads(await socket.recv())["type"])
        await socket.send(json.dumps({"action": "unsubscribe", "task_id": task_id}))

    assert "event" in types


async def test_a_websocket_without_a_key_is_refused(served: Served) -> None:
    url = f"{served.one.url.replace('http', 'ws')}/api/v1/ws"
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with websockets.connect(url):
            pass

    assert refused.value.response.status_code == 401
    assert json.loads(refused.value.response.body or b"")["code"] == "UNAUTHENTICATED"


def use_cases(serving: Serving) -> tuple[TaskWatch, TaskQueries]:
    made = UseCases.of(Access(KeyRing(Keys({})), "acme"), serving.parts)
    return made.watch, made.queries


async def history(watching: TaskWatch, task_id: str) -> list[EventView]:
    async with asyncio.timeout(WAIT_S):
        items = [item async for item in watching.watch(CALLER, task_id, 0)]
    return [item for item in items if isinstance(item, EventView)]


def plain(value: Any) -> Any:
    """As JSON values: Postgres writes documents in its own form."""
    return json.loads(msgspec.json.encode(value))


def a_chunk(task_id: TaskId, index: int = 0) -> StreamChunk:
    return StreamChunk(
        task_id=task_id,
        step=StepName("generate"),
        index=index,
        kind=ChunkKind.TEXT,
        data="once upon",
        at=Millis(0),
    )
