"""``orchestrator task`` with API keys: whose tasks it sees, and what it does not tell."""

import asyncio
import json

import pytest

from tests.api.calling import KEYS, QUESTION, Served
from tests.commands import Ended, run_command

pytestmark = pytest.mark.asyncio(loop_scope="session")

CREATE = ("create", "--type", "rag", "--input", QUESTION)


async def task(
    served: Served, tenant: str | None, *arguments: str, key: str = "", named: str = ""
) -> Ended:
    """Run a command with the key of a tenant, or with another one."""
    variables = {
        "ORCH_API_SERVER": served.one.grpc_address,
        "ORCH_API_KEY": KEYS[tenant] if tenant else key,
        "ORCH_API_TENANT": named,
    }
    ended = await asyncio.to_thread(run_command, ("task", *arguments), variables)
    for secret in filter(None, (*KEYS.values(), key)):
        assert secret not in ended.out + ended.err
    return ended


async def test_a_task_belongs_to_the_tenant_of_the_key(served: Served) -> None:
    created = await task(served, "acme", *CREATE, "--hold", "-o", "json")
    task_id = created.document["id"]
    own = await task(served, "acme", "get", task_id, "-o", "json")
    strange = await task(served, "other", "get", task_id)
    cancelled = await task(served, "acme", "cancel", task_id, "-o", "json")

    assert own.document["tenant_id"] == "acme"
    assert (strange.status, strange.err) == (
        1,
        f"error TASK_UNKNOWN: there is no task {task_id} of the tenant of ORCH_API_KEY; "
        "--direct finds those of all tenants\n",
    )
    assert cancelled.document["answer"]["actor"].startswith("api/grpc/")


async def test_a_failed_task_ends_its_wait_with_its_code_and_is_retried(served: Served) -> None:
    ended = await task(served, "refused", *CREATE, "--wait", "-o", "json")
    task_id = ended.document["id"]
    retried = await task(served, "refused", "retry", task_id, "--wait-s", "60", "-o", "json")
    watched = await task(served, "refused", "watch", task_id, "--after", "3", "-o", "json")
    view = (await task(served, "refused", "get", task_id, "-o", "json")).document

    assert ended.status == 1
    assert ended.err.startswith("error SERVICE_"), ended.err
    assert ended.document["end"]["kind"] == "failed"
    assert (retried.status, retried.document["answer"]["run"]) == (0, 2)
    assert watched.documents[0]["sequence"] > 3
    assert [attempt["run"] for attempt in view["attempts"]] == [1, 2]
    assert view["error"]["code"] == ended.document["end"]["error"]


@pytest.mark.parametrize("key", ["", "orch_nobodys"], ids=["without a key", "with a wrong key"])
async def test_a_caller_whom_nobody_knows_is_told_where_the_key_comes_from(
    served: Served, key: str
) -> None:
    for arguments in (CREATE, ("get", "task_1"), ("list",), ("cancel", "task_1")):
        ended = await task(served, None, *arguments, key=key)

        assert ended.status == 1
        assert ended.err.startswith("error UNAUTHENTICATED: ")
        assert "ORCH_API_KEY" in ended.err


async def test_another_task_with_the_same_key_is_refused_with_its_code(served: Served) -> None:
    await task(served, "acme", *CREATE, "--hold", "--key", "commands-1")
    other = ("create", "--type", "rag", "--input", json.dumps({"query": "Another one?"}))
    ended = await task(served, "acme", *other, "--key", "commands-1")

    assert (ended.status, ended.err.split(":")[0]) == (1, "error IDEMPOTENCY_MISMATCH")


async def test_a_key_of_all_tenants_names_the_tenant_of_each_call(served: Served) -> None:
    created = await task(served, "gateway", *CREATE, "--hold", "-o", "json", named="acme")
    task_id = created.document["id"]
    own = await task(served, "acme", "get", task_id, "-o", "json")
    elsewhere = await task(served, "gateway", "get", task_id, named="other")
    cancelled = await task(served, "gateway", "cancel", task_id, "-o", "json", named="acme")
    listed = await task(served, "gateway", "list", named="nobody")

    assert own.document["tenant_id"] == "acme"
    assert "of the tenant other; --direct finds" in elsewhere.err
    assert cancelled.document["answer"]["kind"] == "cancelled"
    assert "no task of the tenant nobody was found" in listed.err


async def test_a_key_of_all_tenants_is_told_how_to_name_one(served: Served) -> None:
    without = await task(served, "gateway", "list")
    another = await task(served, "acme", "list", named="other")

    assert without.err.startswith("error TENANT_MISSING: ")
    assert "ORCH_API_TENANT" in without.err
    assert another.err.startswith("error TENANT_DENIED: ")
