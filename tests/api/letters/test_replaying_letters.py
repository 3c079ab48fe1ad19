"""Replays over the API: bounded, one at a time, each letter once, also without Postgres."""

import asyncio

import grpc
import pytest
from msgspec import Raw

from orchestrator.api.access.access import Access
from orchestrator.api.access.key_ring import KeyRing
from orchestrator.api.access.keys import Keys
from orchestrator.api.errors import ApiError
from orchestrator.api.letters.requests import EditLetter, ListLetters, ReplayLetters
from orchestrator.api.server import Serving
from orchestrator.api.use_cases import UseCases
from orchestrator.letters.connections import open_connections
from orchestrator.local.embedded.postgres import EmbeddedPostgres
from schemas.gen.orchestrator.v1 import dead_letters_pb2 as pb
from schemas.headers import header_text
from tests.api.calling import WAIT_S, Served, a_create, as_tenant, refusal_of
from tests.api.letters.dead_lettering import (
    a_dead_letter,
    another_replay,
    dead_lettered,
    some_dead_letters,
    until_shown,
    until_status,
)
from tests.api.letters.test_dead_letters import LETTERS, the_letter_of

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]


async def sent(served: Served, letter_id: str) -> int:
    """How many records in ``task-created`` are replays of a letter."""
    topic = served.running.topics.task_created
    async with open_connections(served.running.system.settings) as connections:
        bounds = await connections.reader.all_bounds(
            await connections.reader.all_partitions([topic])
        )
        found = [
            header_text(record.headers, "__dlq.replay.of")
            async for records in connections.reader.read_all(bounds)
            for record in records
        ]
    return found.count(letter_id)


async def test_a_dry_run_says_what_would_be_sent_and_sends_nothing(served: Served) -> None:
    letter_id = await a_dead_letter(served, "letters")
    tried = await served.one.letters.ReplayDeadLetters(
        pb.ReplayDeadLettersRequest(ids=[letter_id]), metadata=as_tenant("letters")
    )
    after = await until_status(served, "letters", letter_id, "open")

    assert tried.outcome == "dry_run"
    assert dict(tried.counts) == {f"send to {served.running.topics.task_created}": 1}
    assert after["replays"] == 0
    assert await sent(served, letter_id) == 0


async def test_a_failed_step_is_replayed_and_its_task_completes(served: Served) -> None:
    mended = as_tenant("mended")  # its first two calls are refused
    ids = []
    for _ in range(2):
        failed = await served.one.stub.CreateAndExecuteTask(
            a_create(), metadata=mended, timeout=WAIT_S
        )
        ids.append(failed.task.id)
        await the_letter_of(served, "mended", failed.task.id)
    request = pb.ReplayDeadLettersRequest(
        filter=pb.DeadLetterFilter(code=["SERVICE_REFUSED"]), dry_run=False, reason="mended"
    )
    replayed = await served.two.letters.ReplayDeadLetters(request, metadata=mended)
    for task_id in ids:
        await served.running.row_until(task_id, lambda row: row["status"] == "completed")

    assert (replayed.outcome, dict(replayed.counts)) == ("finished", {"sent": 2})
    assert replayed.next_page_token == ""


async def test_a_letter_is_not_replayed_twice_without_force(served: Served) -> None:
    letter_id = await a_dead_letter(served, "letters")
    order = {"ids": [letter_id], "dry_run": False, "reason": "again and again"}
    answers = [
        await http.post(f"{LETTERS}:replay", json=order)
        for http in (served.one.http("letters"), served.two.http("letters"))
    ]

    first, second = (answer.json()["counts"] for answer in answers)
    assert first == {"sent": 1}
    assert set(second) <= {"replaying", "resolved"}
    assert await sent(served, letter_id) == 1


async def test_a_replay_is_a_page_and_the_next_call_goes_on_behind_it(served: Served) -> None:
    tenant = "pending"
    ids = await some_dead_letters(served, tenant, 5)
    order = {"all": True, "dry_run": False, "reason": "page by page", "page_size": 2}
    http, calls, counted = served.one.http(tenant), 0, 0
    token: str | None = ""
    while token is not None:
        answer = await http.post(f"{LETTERS}:replay", json={**order, "page_token": token})
        counted += answer.json()["counts"].get("sent", 0)
        token, calls = answer.json()["next_page_token"], calls + 1

    assert (calls, counted) == (3, 5)
    assert [await sent(served, letter_id) for letter_id in ids] == [1] * 5


async def test_a_replay_is_refused_while_another_one_runs(served: Served) -> None:
    letter_id = await a_dead_letter(served, "letters")
    order = {"ids": [letter_id], "dry_run": False, "reason": "meanwhile"}
    async with another_replay(served):
        over_http = await served.one.http("letters").post(f"{LETTERS}:replay", json=order)
        with pytest.raises(grpc.aio.AioRpcError) as over_grpc:
            await served.one.letters.ReplayDeadLetters(
                pb.ReplayDeadLettersRequest(ids=[letter_id], dry_run=False, reason="meanwhile"),
                metadata=as_tenant("letters"),
            )

    told = refusal_of(over_grpc.value)
    assert (over_http.status_code, over_http.json()["code"]) == (409, "REPLAY_RUNNING")
    assert (told.status, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "REPLAY_RUNNING")
    assert "an operator" not in over_http.text
    assert await sent(served, letter_id) == 0


async def test_a_caller_that_leaves_does_not_stop_a_replay(served: Served, third: Serving) -> None:
    letter_id = await a_dead_letter(served, "letters")
    use = UseCases.of(Access(KeyRing(Keys({})), "letters"), third.parts)
    caller = await use.access.caller(None, transport="grpc")
    order = ReplayLetters(ids=(letter_id,), dry_run=False, reason="and gone")
    call = asyncio.create_task(use.letter_replay.replay(caller, order))
    while not use.letter_replay.running:  # noqa: ASYNC110
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    async with asyncio.timeout(WAIT_S):
        while await sent(served, letter_id) != 1:  # noqa: ASYNC110
            await asyncio.sleep(0.2)


async def test_only_an_operator_sees_letters_of_nobody(served: Served, third: Serving) -> None:
    [letter_id] = await dead_lettered(served, None, [(b"whose", b"no record at all")])
    operator = UseCases.of(Access(KeyRing(Keys({})), "letters"), third.parts)
    me = await operator.access.caller(None, transport="http")
    async with asyncio.timeout(WAIT_S):
        while letter_id not in await ids_of(operator):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    shown = await operator.letters.get(me, letter_id)
    whole = b'{"task_id": "whose", "tenant_id": "acme", "type": "rag", "created_at": 1}'
    edited = await operator.letter_actions.edit(
        me, letter_id, EditLetter(value=Raw(whole), reason="found its owner")
    )
    answers = {
        tenant: (await served.one.http(tenant).get(f"{LETTERS}/{letter_id}")).status_code
        for tenant in ("acme", "letters")
    }
    of_acme = await a_dead_letter(served, "acme")

    assert shown.dead_letter.tenant_id is None
    assert edited.dead_letter.status == "open"
    assert answers == {"acme": 404, "letters": 404}
    with pytest.raises(ApiError, match="there is no dead letter"):
        await operator.letters.get(me, of_acme)


async def test_an_operator_of_all_tenants_sees_edits_and_replays_all_letters(
    served: Served,
) -> None:
    [nobodys] = await dead_lettered(served, None, [(b"whose", b"no record either")])
    tenants = ("letters", "other")
    of_tenants = [await a_dead_letter(served, tenant) for tenant in tenants]
    operator = served.one.http("operator")
    await until_shown(served, "operator", [nobodys])
    page = (await operator.get(LETTERS, params={"page_size": 1_000})).json()
    listed = {letter["id"]: letter["tenant_id"] for letter in page["dead_letters"]}
    edit = {"changes": ["type=rag"], "reason": "a new name"}
    edited = await operator.post(f"{LETTERS}/{of_tenants[1]}:edit", json=edit)
    wish = {"ids": of_tenants, "dry_run": True}
    replayed = await operator.post(f"{LETTERS}:replay", json=wish)
    gateway = served.one.http("gateway")
    as_other = {"orchestrator-tenant": "other"}
    of_other = [
        (await gateway.get(f"{LETTERS}/{letter_id}", headers=as_other)).status_code
        for letter_id in (*of_tenants, nobodys)
    ]

    assert [listed[letter_id] for letter_id in of_tenants] == list(tenants)
    assert listed[nobodys] is None
    assert edited.status_code == 200, edited.text
    assert edited.json()["dead_letter"]["tenant_id"] == "other"
    assert replayed.status_code == 200, replayed.text
    assert of_other == [404, 200, 404]


async def ids_of(operator: UseCases) -> list[str]:
    caller = await operator.access.caller(None, transport="http")
    page = await operator.letters.list_letters(caller, ListLetters(page_size=1_000))
    return [letter.id for letter in page.dead_letters]


async def test_without_postgres_letters_are_shown_and_replayed_but_not_listed(
    served: Served, postgres_server: EmbeddedPostgres
) -> None:
    shown_id, sent_id = await some_dead_letters(served, "letters", 2)
    http = served.one.http("letters")
    order = {"ids": [sent_id], "dry_run": False, "reason": "while Postgres is away"}
    page = {"code": ["TASK_TYPE_UNKNOWN"], "page_size": 1}
    await postgres_server.stop()
    try:
        refused = [await http.get(path) for path in (LETTERS, f"{LETTERS}/stats")]
        with pytest.raises(grpc.aio.AioRpcError) as over_grpc:
            await served.one.letters.ListDeadLetters(
                pb.ListDeadLettersRequest(), metadata=as_tenant("letters")
            )
        shown = await http.get(f"{LETTERS}/{shown_id}")
        unknown = await served.one.http("other").get(f"{LETTERS}/{shown_id}")
        tried = await http.post(f"{LETTERS}:replay", json=page)
        replayed = await http.post(f"{LETTERS}:replay", json=order)
    finally:
        await postgres_server.start()
    async with asyncio.timeout(WAIT_S):
        while (await http.get(LETTERS)).status_code != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.1)

    assert {(a.status_code, a.json()["code"]) for a in refused} == {(503, "UNAVAILABLE")}
    assert refusal_of(over_grpc.value).status is grpc.StatusCode.UNAVAILABLE
    assert (shown.status_code, shown.json()["contents"]["value"]["type"]) == (200, "poetry")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "LETTER_UNKNOWN")
    assert (tried.json()["outcome"], bool(tried.json()["next_page_token"])) == ("dry_run", True)
    assert (replayed.json()["outcome"], replayed.json()["counts"]) == ("finished", {"sent": 1})
    assert await sent(served, sent_id) == 1
