"""Dead letters of every kind: seen, mended, replayed, closed; whatever is killed meanwhile."""

import asyncio
import base64
import json
import signal
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import asyncpg
import pytest

from orchestrator.local.embedded.postgres import EmbeddedPostgres
from schemas.codec import encode
from schemas.records import CommandKind, Json, Millis, TaskCommand, TaskCreated
from tasks.letters.ledger import LetterStatus
from tests.e2e.driving import WAIT_S, Running, a_rag_task
from tests.e2e.letters import (
    a_tenant,
    append_edits,
    at_work,
    closed,
    dlq,
    indexed,
    known_letters_of,
    letters,
    replay,
    replayed_letters,
    start_dlq,
)
from tests.letters.load import EACH

pytestmark = pytest.mark.asyncio(loop_scope="session")

KINDS = ("dlq-bytes", "dlq-type", "dlq-step", "dlq-sink")
REFUSE = (
    "ALTER TABLE ai_orchestrator.tasks ADD CONSTRAINT refused_by_a_test "
    "CHECK (tenant_id <> 'dlq-sink') NOT VALID"
)
MEND = "ALTER TABLE ai_orchestrator.tasks DROP CONSTRAINT refused_by_a_test"


async def sql(running: Running, statement: str) -> None:
    connection = await asyncpg.connect(running.system.settings.postgres.dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def publish_all_kinds(running: Running) -> list[str]:
    """EACH of each kind; return the ids of the tasks that they are to become."""
    topic = running.topics.task_created
    wrong_bytes = [a_rag_task("dlq-bytes") for _ in range(EACH)]
    await running.publish(
        topic,
        [(task.task_id.encode(), b"\x00\x00\x00\x00\x65 no task") for task in wrong_bytes],
        headers=[("ce_tenantid", b"dlq-bytes")],
    )
    wrong_type = [a_rag_task("dlq-type", type="poetry") for _ in range(EACH)]
    others = [a_rag_task(tenant) for tenant in ("dlq-step", "dlq-sink") for _ in range(EACH)]
    await running.create([*wrong_type, *others])
    return [str(task.task_id) for task in [*wrong_bytes, *wrong_type, *others]]


async def mend_all_kinds(running: Running) -> None:
    """The table takes the rows again, the service has no fault left, two kinds are edited."""
    await sql(running, MEND)
    edits = {}
    for known in await known_letters_of(running, ["dlq-bytes", "dlq-type"]):
        assert known.letter.key is not None
        task = a_rag_task(str(known.letter.tenant_id), task_id=known.letter.key.decode())
        edits[known.letter.id] = base64.b64encode(encode(task)).decode()
    await append_edits(running, edits)


async def kill_a_replay_in_the_middle(running: Running, *arguments: str) -> int:
    """Start a slow replay, kill it after its first records; return how many it had sent."""
    slowly = ("--rate", str(EACH // 2))  # eight seconds for all of them
    order = ("--execute", "--reason", "killed", *slowly)
    process = await start_dlq(running, "replay", *arguments, *order)
    sent = 0
    async with asyncio.timeout(WAIT_S):
        while sent == 0:
            async with at_work(running) as place:
                await place.log.catch_up()
                run = [r for r in place.log.ledger.runs.values() if r.reason == "killed"]
                ours = [e for e in place.log.ledger.states.values() if e.sent]
                sent = sum(1 for e in ours if run and e.replay_id == run[-1].replay_id)
    process.send_signal(signal.SIGKILL)
    assert await process.wait() == -signal.SIGKILL
    return sent


async def test_letters_of_four_kinds_are_replayed_once_each_though_the_replay_is_killed(
    running: Running,
) -> None:
    await sql(running, REFUSE)
    ids = await publish_all_kinds(running)
    for tenant in KINDS:
        await letters(running, tenant, EACH)
    await mend_all_kinds(running)
    chosen = [word for tenant in KINDS for word in ("--tenant", tenant)]

    sent_before = await kill_a_replay_in_the_middle(running, *chosen)
    report = await replay(running, *chosen)
    rows = await running.ended(ids)
    assert 0 < sent_before < 4 * EACH
    assert report["outcome"] == "finished"
    assert {row["status"] for row in rows.values()} == {"completed"}
    await running.check(ids)
    assert set(running.calls_by_key(ids).values()) == {1}
    await check_each_was_replayed_once(running)
    await check_that_index_and_topics_agree(running)


async def check_each_was_replayed_once(running: Running) -> None:
    known_letters = await known_letters_of(running, KINDS)
    ours = {c.letter.id for c in known_letters if c.letter.tenant_id != "dlq-sink"}
    replayed = [letter_id for letter_id in await replayed_letters(running) if letter_id in ours]
    assert sorted(replayed) == sorted(ours)
    assert len(known_letters) == 4 * EACH


async def check_that_index_and_topics_agree(running: Running) -> None:
    async with asyncio.timeout(WAIT_S):
        while set((await indexed(running, KINDS)).values()) != {LetterStatus.RESOLVED}:  # noqa: ASYNC110
            await asyncio.sleep(0.3)
    in_topics = {known.letter.id: known.status for known in await known_letters_of(running, KINDS)}
    assert await indexed(running, KINDS) == in_topics


async def test_a_record_that_is_replayed_unmended_three_times_is_parked_until_an_edit_mends_it(
    running: Running,
) -> None:
    tenant = a_tenant("poison")
    task = a_rag_task(tenant, type="poetry")
    await running.create([task])
    for replays in range(1, 4):
        newest = (await letters(running, tenant, replays))[-1]
        await replay(running, newest.letter.id)
        assert newest.state.replays == replays - 1

    last = (await letters(running, tenant, 4))[-1]
    refused = await replay(running, last.letter.id)
    assert (last.state.replays, last.status) == (3, LetterStatus.PARKED)
    assert refused["counts"] == {"parked": 1}

    order = ("--set", "type=rag", "--execute", "--reason", "it is a question")
    await dlq(running, "edit", last.letter.id, *order)
    await replay(running, last.letter.id)
    assert (await running.ended([task.task_id]))[task.task_id]["status"] == "completed"
    shown = await dlq(running, "show", last.letter.id)
    assert '"kind": "edited"' in shown.out


async def test_what_commands_did_or_would_do_is_printed_as_json(
    running: Running, tmp_path: Path
) -> None:
    tenant = a_tenant("json")
    await running.create([a_rag_task(tenant, type="poetry")])
    [known] = await letters(running, tenant, 1)
    async with asyncio.timeout(WAIT_S):
        while not await indexed(running, [tenant]):  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    letter_id, file, form = known.letter.id, tmp_path / "letters.jsonl", ("-o", "json")
    edited = (await dlq(running, "edit", letter_id, "--set", "type=rag", *form)).document
    done = ("--execute", "--reason", "a test")

    assert (edited["id"], edited["after"]["type"], edited["done"]) == (letter_id, "rag", False)
    assert (await dlq(running, "export", str(file), "--tenant", tenant, *form)).document == {
        "letters": 1,
        "file": str(file),
    }
    assert (await dlq(running, "import", str(file), *form)).document == {
        "letters": 1,
        "new": 0,
        "done": False,
    }
    listed = await dlq(running, "list", "--tenant", tenant)
    assert listed.out.splitlines()[1].split()[0] == letter_id
    assert (await dlq(running, "show", letter_id, *form)).document["id"] == letter_id
    assert (await dlq(running, "discard", letter_id, *form)).document == {
        "letters": 1,
        "done": False,
    }
    assert (await dlq(running, "discard", letter_id, *form, *done)).document["done"] is True


async def test_an_edit_that_is_no_record_is_refused_and_changes_nothing(running: Running) -> None:
    tenant = a_tenant("edit")
    await running.create([a_rag_task(tenant, type="poetry")])
    [known] = await letters(running, tenant, 1)

    order = ("--set", "priority=many", "--execute", "--reason", "a mistake")
    ended = await dlq(running, "edit", known.letter.id, *order, code=1)
    assert ended.err.startswith("error EDIT_REFUSED: TaskCreated")
    [after] = await letters(running, tenant, 1)
    assert after.state.edited is None


@pytest.mark.parametrize("end", ["completed", "cancelled"])
async def test_the_replay_of_a_step_whose_task_went_on_leaves_the_task_alone(
    running: Running, end: str
) -> None:
    task = a_rag_task(f"gone-on-{end}")  # its first call is refused
    await running.create([task])
    [known] = await letters(running, task.tenant_id, 1)
    by_hand = [CommandKind.RETRY, *([CommandKind.CANCEL] if end == "cancelled" else [])]
    await command(running, task, by_hand)
    await running.row_until(task.task_id, lambda row: row["status"] == end)
    reason = await closed(running, known.letter.id)
    before = await history(running, task.task_id)

    report = await replay(running, known.letter.id, "--force", "--canary", "1")
    assert reason.startswith("task_went_on: run 2, ")
    assert (report["outcome"], report["counts"]) == ("finished", {"sent": 1})
    assert await history(running, task.task_id) == before
    assert await closed(running, known.letter.id) == f"task_went_on: run 2, {end}"


async def command(running: Running, task: TaskCreated, kinds: Sequence[CommandKind]) -> None:
    records = [
        TaskCommand(
            command_id=str(uuid.uuid4()),
            task_id=task.task_id,
            tenant_id=task.tenant_id,
            kind=kind,
            actor="a test",
            issued_at=Millis(time.time_ns() // 1_000_000),
        )
        for kind in kinds
    ]
    values = [(task.task_id.encode(), encode(record)) for record in records]
    await running.publish(running.topics.task_commands, values)


async def history(running: Running, task_id: str) -> list[tuple[str, int]]:
    return [(e["kind"], e["sequence"]) for e in await running.events() if e["task_id"] == task_id]


async def test_a_service_that_is_away_leaves_few_dead_letters_and_nothing_is_lost(
    running: Running,
) -> None:
    tasks = [a_rag_task("flooding") for _ in range(40)]  # their calls fail until it is paused
    ids = [task.task_id for task in tasks]
    await running.create(tasks)
    rows = await running.ended(ids)
    failed = [task_id for task_id, row in rows.items() if row["status"] == "failed"]
    await letters(running, "flooding", len(failed))
    said = (running.logs / "step.retrieve.log").read_text()

    await replay(running, "--tenant", "flooding", "--canary", "1")
    for task_id in failed:
        await running.row_until(task_id, lambda row: row["status"] == "completed")
    assert 26 <= len(failed) <= 28
    assert said.index("flood_guard_paused") < said.index("flood_guard_resumed")
    assert {row["status"] for row in (await running.rows(ids)).values()} == {"completed"}


async def test_canaries_that_fail_again_keep_the_others_back(running: Running) -> None:
    tenant = a_tenant("canary")
    await running.create([a_rag_task(tenant, type="poetry") for _ in range(6)])
    await letters(running, tenant, 6)

    order = ("--execute", "--reason", "too early", "--json")
    ended = await dlq(running, "replay", "--tenant", tenant, *order, "--canary", "2", code=4)
    report = ended.documents[-1]
    assert (report["outcome"], report["counts"]["sent"]) == ("canary_failed", 2)
    assert len(await letters(running, tenant, 8)) == 8


async def test_a_running_replay_can_be_stopped(running: Running) -> None:
    tenant = a_tenant("stopped")
    await running.create([a_rag_task(tenant, type="poetry") for _ in range(8)])
    await letters(running, tenant, 8)
    order = ("--execute", "--reason", "slowly", "--json", "--rate", "1")
    process = await start_dlq(running, "replay", "--tenant", tenant, *order)
    await some_sent(running, tenant)

    await dlq(running, "replay", "--stop", "--reason", "enough")
    out, _ = await process.communicate()
    report = json.loads(out.splitlines()[-1])
    assert (process.returncode, report["outcome"]) == (3, "stopped")
    assert 0 < report["counts"]["sent"] < 8


async def some_sent(running: Running, tenant: str) -> None:
    async with asyncio.timeout(WAIT_S):
        while not any(known.state.sent for known in await known_letters_of(running, [tenant])):  # noqa: ASYNC110
            await asyncio.sleep(0.2)


async def test_a_dry_run_sends_nothing_and_says_what_it_would_do(running: Running) -> None:
    tenant = a_tenant("dry")
    await running.create([a_rag_task(tenant, type="poetry") for _ in range(2)])
    await letters(running, tenant, 2)

    ended = await dlq(running, "replay", "--tenant", tenant)
    assert f"2 send to {running.topics.task_created}" in ended.out
    assert "a dry run: nothing was sent" in ended.out
    assert {c.status for c in await known_letters_of(running, [tenant])} == {LetterStatus.OPEN}


async def test_letters_of_steps_that_are_not_installed_here_are_replayed_too(
    running: Running,
) -> None:
    tenant, without = a_tenant("elsewhere"), ("ORCH_PIPELINES_DIR",)
    words = Json(json.dumps({"words": 5}))
    await running.create([a_rag_task(tenant, type="yell", input=words) for _ in range(3)])
    await letters(running, tenant, 3)

    counted = await dlq(running, "replay", "--tenant", tenant, without=without)
    assert f"3 send to {running.topics.task_commands}" in counted.out
    order = ("--execute", "--reason", "from elsewhere", "--json")
    sent = await dlq(running, "replay", "--tenant", tenant, *order, without=without)
    assert sent.documents[-1]["counts"] == {"sent": 3}


async def test_every_task_that_its_deadline_ended_is_a_letter_wherever_it_waited(
    running: Running,
) -> None:
    held = a_tenant("held")
    tasks = [
        a_rag_task(tenant, timeout_ms=1_500 + 50 * n, hold=tenant == held)
        # At its service, and for somebody who executes it.
        for tenant in ("hanging", held)
        for n in range(4)
    ]
    await running.create(tasks)
    rows = await running.ended([task.task_id for task in tasks])
    assert {row["error_code"] for row in rows.values()} == {"DEADLINE_EXCEEDED"}

    wanted, found = {task.task_id for task in tasks}, dict[str, list[str]]()
    async with asyncio.timeout(WAIT_S):
        while found.keys() != wanted:
            found = {}
            for known in await known_letters_of(running, ["hanging", held]):
                if known.letter.task_id in wanted:
                    found.setdefault(known.letter.task_id, []).append(known.letter.failure_class)
            await asyncio.sleep(0.2)
    assert set(map(tuple, found.values())) == {("DEADLINE",)}

    report = await replay(running, "--tenant", held, "--class", "DEADLINE")
    assert report["counts"] == {"sent": 4}
    for task in tasks[-4:]:
        row = await running.row_until(task.task_id, lambda row: row["status"] == "completed")
        assert row["run"] == 2


async def test_a_replay_of_a_letter_that_nobody_knows_says_so(running: Running) -> None:
    for arguments in ([], ["--execute", "--reason", "a test"]):
        ended = await dlq(running, "replay", "0" * 12, *arguments, code=1)
        assert "LETTER_UNKNOWN" in ended.err


async def test_letters_that_are_listed_and_in_no_topic_are_not_said_to_be_replayed(
    running: Running,
) -> None:
    tenant = a_tenant("gone")
    await running.create([a_rag_task(tenant, type="poetry")])
    [known] = await letters(running, tenant, 1)
    async with asyncio.timeout(WAIT_S):
        while not await indexed(running, [tenant]):  # noqa: ASYNC110  # another process writes
            await asyncio.sleep(0.1)
    statement = f"UPDATE ai_orchestrator.dead_letters SET tenant_id = '{tenant}-gone' WHERE id = "
    await sql(running, statement + f"'{known.letter.id}'")

    ended = await dlq(running, "replay", "--tenant", f"{tenant}-gone", code=1)
    assert "LETTERS_GONE" in ended.err
    assert known.letter.dlq_topic in ended.err


async def test_everything_that_is_done_needs_a_reason_and_something_that_chooses(
    running: Running,
) -> None:
    without_reason = await dlq(running, "replay", "--all", "--execute", code=2)
    without_choice = await dlq(running, "replay", "--execute", "--reason", "all of it", code=2)

    assert "--execute needs --reason" in without_reason.err
    assert "nothing chooses the letters" in without_choice.err


async def test_without_postgres_letters_are_shown_and_replayed_and_the_index_catches_up(
    running: Running, postgres_server: EmbeddedPostgres
) -> None:
    task = a_rag_task("postgres-away")
    await running.create([task])
    [known] = await letters(running, "postgres-away", 1)
    await postgres_server.stop()
    try:
        listed = await dlq(running, "list", "--tenant", "postgres-away", "--json")
        shown = await dlq(running, "show", known.letter.id)
        report = await replay(running, known.letter.id, "--canary", "1")
    finally:
        await postgres_server.start()

    assert [line["id"] for line in listed.documents] == [known.letter.id]
    assert [event["event"] for event in json.loads(shown.out)["task_timeline"]] == [
        "created",
        "failed",
    ]
    assert (report["outcome"], report["counts"]) == ("finished", {"sent": 1})
    assert (await closed(running, known.letter.id)).startswith("task_went_on: run 2, ")
    assert (await running.ended([task.task_id]))[task.task_id]["status"] == "completed"


async def test_an_emptied_index_is_filled_again_from_the_topics(running: Running) -> None:
    tenant = a_tenant("again")
    await running.create([a_rag_task(tenant, type="poetry") for _ in range(3)])
    found = await letters(running, tenant, 3)
    await dlq(running, "discard", found[0].letter.id, "--execute", "--reason", "a joke")
    await dlq(running, "reindex")

    wanted = {known.letter.id: known.status for known in await known_letters_of(running, [tenant])}
    async with asyncio.timeout(WAIT_S):
        while await indexed(running, [tenant]) != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.3)
    assert sorted(wanted.values()) == [LetterStatus.DISCARDED, LetterStatus.OPEN, LetterStatus.OPEN]


async def test_exported_letters_can_be_imported_where_they_are_missing(
    running: Running, tmp_path: Path
) -> None:
    tenant, file = a_tenant("export"), tmp_path / "letters.jsonl"
    await running.create([a_rag_task(tenant, type="poetry")])
    [known] = await letters(running, tenant, 1)
    await dlq(running, "export", str(file), "--tenant", tenant)
    again = await dlq(running, "import", str(file))

    # Elsewhere it has another id; both are base64 in the file.
    old, new = (base64.b64encode(i.encode()).decode() for i in (known.letter.id, str(uuid.uuid4())))
    file.write_text(file.read_text().replace(old, new))
    await dlq(running, "import", str(file), "--execute", "--reason", "from elsewhere")
    first, second = await letters(running, tenant, 2)
    assert "0 of 1 are not here yet" in again.out
    assert (first.letter.key, first.letter.value) == (second.letter.key, second.letter.value)
    assert first.letter.headers == second.letter.headers
