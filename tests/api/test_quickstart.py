"""Every snippet of docs/quickstart.md, as it stands there."""

import json
import re

import pytest

from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from tests.api.calling import ACME, Served, a_create
from tests.api.snippets import Page, name_of, run_grpcurl, run_python, run_shell

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = Page("docs/quickstart.md")


async def test_the_shell_snippets_run(served: Served) -> None:
    shown = await run_shell(served, PAGE.shell[1:])

    assert shown.count('"task"') >= 1
    assert "id: 2\nevent: event" in shown
    assert '"status":"cancelled"' in shown
    assert '"compatibilityLevel"' not in shown
    assert "api.task-created.v1-value" in shown


async def test_the_python_snippets_run(served: Served) -> None:
    shown = await run_python(served, PAGE.python)

    assert "dead letter" in shown.lower()
    assert re.search(r"^\d+ completed", shown, re.MULTILINE)
    assert "TASK_STATUS_COMPLETED" in shown


@pytest.mark.parametrize("snippet", PAGE.grpcurl, ids=name_of)
async def test_a_grpcurl_snippet_is_a_call_that_works(served: Served, snippet: str) -> None:
    made = await served.one.stub.CreateTask(a_create(), metadata=ACME)

    assert await run_grpcurl(
        served,
        snippet,
        {"$TASK": made.task.id},
        described=pb.DESCRIPTOR,
        stub=served.one.stub,
    )


async def test_the_page_has_each_use_case() -> None:
    text = "\n".join(PAGE.python)

    for method in pb.DESCRIPTOR.services_by_name["Orchestrator"].methods_by_name:
        assert method in text or method in ("ExecuteTask", "BatchCreateTasks"), method
    assert json.dumps({"query": "What is a dead letter?"}) in PAGE.text
