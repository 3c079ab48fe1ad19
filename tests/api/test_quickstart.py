"""Every snippet of docs/quickstart.md, as it stands there."""

import asyncio
import json
import os
import re
import shlex
import sys
from pathlib import Path

import pytest
from google.protobuf import json_format

from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from tests.api.calling import ACME, KEYS, WAIT_S, Served, a_create

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = Path("docs/quickstart.md").read_text("utf-8")
SNIPPETS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SHELL = [text for kind, text in SNIPPETS if kind == "sh" and "grpcurl" not in text]
GRPCURL = [text for kind, text in SNIPPETS if kind == "sh" and "grpcurl" in text]
PYTHON = [text for kind, text in SNIPPETS if kind == "python"]


async def test_the_shell_snippets_run(served: Served) -> None:
    # curl fails for a refusal here, which the page does not show: it is for eyes.
    script = "set -eu\n" + "\n".join(SHELL[1:]).replace("curl ", "curl --fail ")
    shown = await run(served, "bash", "-c", script)

    assert shown.count('"task"') >= 1
    assert "id: 2\nevent: event" in shown
    assert '"status":"cancelled"' in shown
    assert '"compatibilityLevel"' not in shown
    assert "api.task-created.v1-value" in shown


async def test_the_python_snippets_run(served: Served) -> None:
    shown = await run(served, sys.executable, "-c", "\n".join(PYTHON))

    assert "dead letter" in shown.lower()
    assert re.search(r"^\d+ completed", shown, re.MULTILINE)
    assert "TASK_STATUS_COMPLETED" in shown


@pytest.mark.parametrize("snippet", GRPCURL, ids=lambda text: text.rsplit("/", 1)[1].strip())
async def test_a_grpcurl_snippet_is_a_call_that_works(served: Served, snippet: str) -> None:
    made = await served.one.stub.CreateTask(a_create(), metadata=ACME)
    variables = {"$KEY": KEYS["acme"], "$TASK": made.task.id, "$GRPC": served.one.grpc_address}
    for name, value in variables.items():
        snippet = snippet.replace(name, value)
    words = shlex.split(snippet.replace("\\\n", " "))
    header, data = words[words.index("-H") + 1], words[words.index("-d") + 1]
    service, _, method = words[-1].partition("/")
    described = pb.DESCRIPTOR.services_by_name["Orchestrator"]
    name = described.methods_by_name[method].input_type.name
    request = json_format.Parse(data, getattr(pb, name)())
    metadata = [tuple(header.split(": ", 1))]
    call = getattr(served.one.stub, method)(request, metadata=metadata, timeout=WAIT_S)
    answer = [item async for item in call] if method == "WatchTask" else await call

    assert words[-2] == served.one.grpc_address
    assert service == described.full_name
    assert answer


async def test_the_page_has_each_use_case() -> None:
    text = "\n".join(PYTHON)

    for method in pb.DESCRIPTOR.services_by_name["Orchestrator"].methods_by_name:
        assert method in text or method in ("ExecuteTask", "BatchCreateTasks"), method
    assert json.dumps({"query": "What is a dead letter?"}) in PAGE


async def run(served: Served, *command: str) -> str:
    """What a snippet writes; it must end well."""
    environment = {
        **os.environ,
        "HTTP": served.one.url,
        "GRPC": served.one.grpc_address,
        "KEY": KEYS["acme"],
        "PYTHONPATH": str(Path.cwd()),
        # Where `orchestrator` is.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(WAIT_S * 2):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, output.decode()
    return output.decode()
