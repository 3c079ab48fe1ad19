"""Runs the snippets of a page as they stand there."""

import asyncio
import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message_factory import GetMessageClass

from tests.api.calling import KEYS, WAIT_S, Served, as_tenant


class Page:
    """The snippets of a page, or of one section of it, by kind."""

    def __init__(self, path: str, section: str = "") -> None:
        text = Path(path).read_text("utf-8")
        if section:
            text = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
        found = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        self.text = text
        self.shell = [text for kind, text in found if kind == "sh" and "grpcurl" not in text]
        self.grpcurl = [text for kind, text in found if kind == "sh" and "grpcurl" in text]
        self.python = [text for kind, text in found if kind == "python"]


def name_of(snippet: str) -> str:
    """The method that a grpcurl snippet calls."""
    return snippet.rsplit("/", 1)[1].strip()


async def run_shell(served: Served, snippets: list[str], tenant: str = "acme") -> str:
    """What they write; curl fails for a refusal, which the page does not show: it is for eyes."""
    script = "set -eu\n" + "\n".join(snippets).replace("curl ", "curl --fail ")
    return await _run(served, tenant, "bash", "-c", script)


async def run_python(served: Served, snippets: list[str], tenant: str = "acme") -> str:
    """What they write, one after the other in one program."""
    return await _run(served, tenant, sys.executable, "-c", "\n".join(snippets))


async def run_grpcurl(
    served: Served,
    snippet: str,
    variables: Mapping[str, str],
    *,
    described: FileDescriptor,
    stub: Any,
    tenant: str = "acme",
) -> Any:
    """The answer to what the words of a grpcurl command ask for."""
    everything = {"$KEY": KEYS[tenant], "$GRPC": served.one.grpc_address, **variables}
    for name, value in everything.items():
        snippet = snippet.replace(name, value)
    words = shlex.split(snippet.replace("\\\n", " "))
    header, data = words[words.index("-H") + 1], words[words.index("-d") + 1]
    service, _, method = words[-1].partition("/")
    [found] = [s for s in described.services_by_name.values() if s.full_name == service]
    request = GetMessageClass(found.methods_by_name[method].input_type)()
    metadata = (tuple(header.split(": ", 1)),)
    call = getattr(stub, method)(
        json_format.Parse(data, request), metadata=metadata, timeout=WAIT_S
    )
    assert (words[-2], metadata) == (served.one.grpc_address, as_tenant(tenant))
    return [item async for item in call] if method == "WatchTask" else await call


async def _run(served: Served, tenant: str, *command: str) -> str:
    environment = {
        **os.environ,
        "HTTP": served.one.url,
        "GRPC": served.one.grpc_address,
        "KEY": KEYS[tenant],
        "PYTHONPATH": str(Path.cwd()),
        # Where `orchestrator` is.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    status, written = await written_by(*command, environment=environment, timeout_s=WAIT_S * 2)
    assert status == 0, written
    return written


async def written_by(
    *command: str, environment: Mapping[str, str], folder: Path | None = None, timeout_s: float
) -> tuple[int | None, str]:
    """The status of a program, and what it wrote; it is killed when its time is over."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(timeout_s):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode, output.decode()
