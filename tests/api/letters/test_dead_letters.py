"""Dead letters over both protocols, on the real stack: seen, mended, given up."""

import asyncio
import json
from typing import Any

import grpc
import pytest

from schemas.codec import encode
from schemas.gen.orchestrator.v1 import dead_letters_pb2 as pb
from schemas.records import CommandKind, Millis, TaskCommand, TaskId
from tests.api.calling import ACME, WAIT_S, Served, a_create, as_tenant, refusal_of
from tests.api.letters.dead_lettering import (
    a_dead_letter,
    dead_lettered,
    some_dead_letters,
    until_status,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

LETTERS = "/api/v1/dead-letters"
MINE = as_tenant("letters")


async def test_letters_are_listed_in_pages_newest_first_over_both(served: Served) -> None:
    ids = await some_dead_letters(served, "paged", 5)
    http, found = served.two.http("paged"), list[dict[str, Any]]()
    token: str | None = ""
    while token is not None:
        page = await http.get(LETTERS, params={"page_size": 2, "page_token": token})
        found += page.json()["dead_letters"]
        token = page.json()["next_page_token"]
    listed = await served.one.letters.ListDeadLetters(
        pb.ListDeadLettersRequest(), metadata=as_tenant("paged")
    )
    others = await served.one.letters.ListDeadLetters(
        pb.ListDeadLettersRequest(filter=pb.DeadLetterFilter(task_id=[found[0]["task_id"]])),
        metadata=ACME,
    )

    assert {letter["id"] for letter in found} == set(ids)
    places = [(letter["dead_lettered_at"], letter["id"]) for letter in found]
    assert places == sorted(places, reverse=True)
    assert [letter.id for letter in listed.dead_letters] == [letter["id"] for letter in found]
    assert listed.next_page_token == ""
    assert list(others.dead_letters) == []


async def test_filters_choose_letters_as_the_command_line_does(served: Served) -> None:
    letter_id = await a_dead_letter(served, "letters")
    http = served.one.http("letters")

    async def ids(**params: str) -> list[str]:
        answer = await http.get(LETTERS, params=params)
        return [letter["id"] for letter in answer.json()["dead_letters"]]

    assert letter_id in await ids(topic="task-created", code="TASK_TYPE_UNKNOWN,OTHER")
    assert letter_id in await ids(status="open", type="poetry", stage="validate")
    assert await ids(code="DECODE_FAILED", type="poetry") == []
    assert letter_id not in await ids(status="discarded")
    assert await ids(until="2020-01-01T00:00:00Z") == []


async def test_a_letter_is_shown_with_its_record(served: Served) -> None:
    letter_id = await a_dead_letter(served, "letters", priority=7)
    over_http = (await served.one.http("letters").get(f"{LETTERS}/{letter_id}")).json()
    over_grpc = await served.two.letters.GetDeadLetter(
        pb.GetDeadLetterRequest(letter_id=letter_id), metadata=MINE
    )

    letter, contents = over_http["dead_letter"], over_http["contents"]
    assert (letter["code"], letter["stage"]) == ("TASK_TYPE_UNKNOWN", "validate")
    assert (letter["tenant_id"], letter["status"]) == ("letters", "open")
    assert contents["value"]["priority"] == 7
    assert contents["key"] == letter["task_id"]
    assert over_grpc.dead_letter.id == letter_id
    assert json.loads(over_grpc.contents.value) == contents["value"]
    assert over_grpc.dead_letter.dead_lettered_at.ToMilliseconds() > 0


async def test_a_record_that_cannot_be_decoded_is_shown_where_it_breaks(served: Served) -> None:
    value, header = b"\x00\x00\x00\x00\x65\x02", ("ce_tenantid", b"letters")
    [letter_id] = await dead_lettered(served, "letters", [(b"task_odd", value)], [header])
    shown = await served.one.letters.GetDeadLetter(
        pb.GetDeadLetterRequest(letter_id=letter_id), metadata=MINE
    )

    broken = shown.contents.undecodable
    assert not shown.contents.HasField("value")
    assert broken.reason.startswith(shown.dead_letter.code)
    assert (broken.size_bytes, broken.hex_before + broken.hex_from_there) == (6, value.hex())
    assert [h.name for h in shown.contents.headers] == ["ce_tenantid"]


async def test_the_letter_of_a_step_is_shown_with_what_its_task_did(served: Served) -> None:
    failed = await served.one.stub.CreateAndExecuteTask(
        a_create(), metadata=as_tenant("refused"), timeout=WAIT_S
    )
    letter = await the_letter_of(served, "refused", failed.task.id)
    shown = (await served.one.http("refused").get(f"{LETTERS}/{letter['id']}")).json()

    assert (letter["stage"], letter["code"], letter["run"]) == ("execute", "SERVICE_REFUSED", 1)
    events = [happening["event"] for happening in shown["task_timeline"]]
    assert (events[0], events[-1]) == ("created", "failed")
    assert shown["contents"]["value"]["step"] == "retrieve"


async def the_letter_of(served: Served, tenant: str, task_id: str) -> dict[str, Any]:
    """Wait for the letter of a task's step."""
    http = served.one.shared(tenant)
    async with asyncio.timeout(WAIT_S):
        while True:
            answer = await http.get(LETTERS, params={"task_id": task_id, "status": "open"})
            if found := answer.json()["dead_letters"]:
                letter: dict[str, Any] = found[0]
                return letter
            await asyncio.sleep(0.1)


async def test_letters_are_counted_over_both(served: Served) -> None:
    await some_dead_letters(served, "letters", 2)
    by_code = await served.one.http("letters").get(
        f"{LETTERS}/stats", params={"by": "code,hour", "type": "poetry"}
    )
    request = pb.GetDeadLetterStatsRequest(by=["code"], filter=pb.DeadLetterFilter(type=["poetry"]))
    over_grpc = await served.one.letters.GetDeadLetterStats(request, metadata=MINE)

    codes, hours = by_code.json()["histograms"]
    [bar] = codes["counts"]
    assert (codes["by"], bar["value"]) == ("code", "TASK_TYPE_UNKNOWN")
    assert bar["count"] == sum(hour["count"] for hour in hours["counts"]) >= 2
    assert over_grpc.histograms[0].counts[0].count == bar["count"]


async def test_an_edit_is_what_a_replay_sends(served: Served) -> None:
    letter_id = await a_dead_letter(served, "letters")
    http = served.one.http("letters")
    order = {"changes": ["type=rag", "input.query=What is a lane?"], "reason": "a typo"}
    edited = await http.post(f"{LETTERS}/{letter_id}:edit", json=order)
    replayed = await http.post(
        f"{LETTERS}:replay", json={"ids": [letter_id], "dry_run": False, "reason": "mended"}
    )
    letter = await until_status(served, "letters", letter_id, "resolved")
    shown = (await http.get(f"{LETTERS}/{letter_id}")).json()
    await served.running.row_until(letter["task_id"], lambda row: row["status"] == "completed")

    assert edited.json()["value"]["type"] == "rag"
    assert json.loads(edited.json()["value"]["input"]) == {"query": "What is a lane?"}
    assert edited.json()["dead_letter"]["edited_sha256"] == edited.json()["sha256_after"]
    assert (replayed.json()["outcome"], replayed.json()["counts"]) == ("finished", {"sent": 1})
    assert shown["contents"]["value"]["type"] == "poetry"
    kinds = [action["kind"] for action in shown["history"]]
    assert kinds[:3] == ["edited", "replay_intended", "replayed"]
    assert shown["history"][0]["actor"].startswith("api/http/")
    assert shown["history"][0]["reason"] == "a typo"


async def test_a_whole_value_can_be_given_over_grpc(served: Served) -> None:
    letter_id = await a_dead_letter(served, "letters")
    shown = await served.one.letters.GetDeadLetter(
        pb.GetDeadLetterRequest(letter_id=letter_id), metadata=MINE
    )
    value = json.loads(shown.contents.value) | {"type": "rag", "priority": 2}
    request = pb.EditDeadLetterRequest(
        letter_id=letter_id, value=json.dumps(value), changes=["priority=9"], reason="a typo"
    )
    edited = await served.one.letters.EditDeadLetter(request, metadata=MINE)

    assert json.loads(edited.value) == value | {"priority": 9}
    assert edited.sha256_before != edited.sha256_after == edited.dead_letter.edited_sha256


DEEP = "[" * 100_000
REFUSED_EDITS: list[dict[str, Any]] = [
    {"changes": ["priority=many"]},
    {"changes": ["nothing=1"]},
    {"changes": ["no equals sign"]},
    {"changes": ["priority=" + "9" * 400]},
    {"changes": ["input.a." + "b." * 2_000 + "c=1"]},
    {"changes": [f"metadata.a={DEEP}"]},
    {"changes": ["metadata=" + "x" * 2_000_000]},
    {"changes": ["created_at=1e999"]},
    {"changes": ["tenant_id=other"]},
    {"changes": ["task_id=task_of_others"]},
    {"changes": ["created_at=17"]},
    {"value": {}},
    {"value": []},
    {"value": {"tenant_id": "letters", "type": ["rag"]}},
]


@pytest.mark.parametrize("order", REFUSED_EDITS, ids=lambda order: json.dumps(order)[:40])
async def test_an_edit_that_does_not_fit_changes_nothing(
    served: Served, order: dict[str, Any]
) -> None:
    letter_id = await a_dead_letter(served, "letters")
    path = f"{LETTERS}/{letter_id}"
    http = served.one.http("letters")
    refused = await http.post(f"{path}:edit", json={**order, "reason": "a test"})

    assert (refused.status_code, refused.json()["code"]) == (400, "EDIT_REFUSED")
    assert (await http.get(path)).json()["history"] == []


async def test_what_the_system_wrote_is_not_edited_by_a_tenant(served: Served) -> None:
    failed = await served.one.stub.CreateAndExecuteTask(
        a_create(), metadata=as_tenant("refused"), timeout=WAIT_S
    )
    letter = await the_letter_of(served, "refused", failed.task.id)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.one.letters.EditDeadLetter(
            pb.EditDeadLetterRequest(letter_id=letter["id"], changes=["priority=1"], reason="why"),
            metadata=as_tenant("refused"),
        )

    assert refusal_of(refused.value).reason == "EDIT_REFUSED"


async def test_a_letter_is_given_up_once_over_both(served: Served) -> None:
    letter_id = await a_dead_letter(served, "letters")
    path = f"{LETTERS}/{letter_id}"
    http = served.one.http("letters")
    first = await http.post(f"{path}:discard", json={"reason": "a joke"})
    again = await served.two.letters.DiscardDeadLetter(
        pb.DiscardDeadLetterRequest(letter_id=letter_id, reason="another joke"), metadata=MINE
    )
    shown = (await http.get(path)).json()

    assert (first.status_code, first.json()["status"]) == (200, "discarded")
    assert (again.dead_letter.status, again.dead_letter.status_reason) == ("discarded", "a joke")
    assert [action["kind"] for action in shown["history"]] == ["discarded"]


@pytest.mark.parametrize(
    ("path", "order"),
    [
        (":replay", {}),
        (":replay", {"all": True, "dry_run": False}),
        (":replay", {"all": True, "force": True}),
        (":replay", {"all": True, "page_size": 1_001}),
        (":replay", {"since": "2026-01-01T00:00:00"}),
        ("/{}:edit", {"changes": ["type=rag"], "reason": "  "}),
        ("/{}:edit", {"reason": "why"}),
        ("/{}:discard", {}),
    ],
)
async def test_an_order_that_is_not_whole_is_refused(
    served: Served, path: str, order: dict[str, Any]
) -> None:
    letter_id = await a_dead_letter(served, "letters") if "{}" in path else ""
    refused = await served.one.http("letters").post(LETTERS + path.format(letter_id), json=order)

    assert (refused.status_code, refused.json()["code"]) == (400, "FIELD_INVALID")
    assert refused.json()["errors"][0]["name"]


async def test_a_letter_of_another_tenant_is_not_found(served: Served) -> None:
    letter_id = await a_dead_letter(served, "letters")
    http = served.one.http("other")
    force = {"ids": [letter_id], "dry_run": False, "reason": "mine", "force": True}
    answers = [
        await http.get(f"{LETTERS}/{letter_id}"),
        await http.post(f"{LETTERS}/{letter_id}:edit", json={"changes": ["a=1"], "reason": "x"}),
        await http.post(f"{LETTERS}/{letter_id}:discard", json={"reason": "x"}),
        await http.post(f"{LETTERS}:replay", json=force),
    ]
    mine = await served.one.http("letters").get(f"{LETTERS}/{letter_id}")

    assert {(a.status_code, a.json()["code"]) for a in answers} == {(404, "LETTER_UNKNOWN")}
    assert mine.json()["history"] == []


async def test_a_letter_tells_nothing_of_another_tenant_s_task(served: Served) -> None:
    created = await served.one.stub.CreateAndExecuteTask(a_create(), metadata=ACME, timeout=WAIT_S)
    command = TaskCommand(
        command_id="c",
        task_id=TaskId(created.task.id),
        tenant_id="letters",
        kind=CommandKind.CANCEL,
        issued_at=Millis(1),
    )
    record = (created.task.id.encode(), encode(command))
    commands = served.running.topics.task_commands
    [letter_id] = await dead_lettered(served, "letters", [record], topic=commands)
    shown = (await served.one.http("letters").get(f"{LETTERS}/{letter_id}")).json()

    assert shown["dead_letter"]["task_id"] == created.task.id
    assert (shown["task_timeline"], shown["related"]) == ([], [])
