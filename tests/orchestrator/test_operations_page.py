"""The steps of docs/operations.md, run as they stand there, until a task has ended."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from orchestrator.local.embedded.process import Child
from tests.api.calling import free_ports
from tests.api.snippets import Page, written_by
from tests.e2e.driving import WAIT_S, a_database

PAGE = Page("docs/operations.md")
_PROMTOOL = "promtool check rules"
"""`make test-prometheus` checks the same files: this test fetches no program."""
pytestmark = pytest.mark.asyncio(loop_scope="session")


class Machine:
    """A folder, and shells in it; what the page names is elsewhere here."""

    def __init__(self, folder: Path, places: Mapping[str, str]) -> None:
        self._folder = folder
        self._places = places
        self._exported = ""

    async def run(self, snippet: str) -> str:
        """What a snippet writes; what it exports stays."""
        script = f"set -eu\n{self._exported}\n{self._here(snippet)}"
        status, written = await written_by(
            *("bash", "-c", script),
            environment=self._environment(),
            folder=self._folder,
            timeout_s=WAIT_S,
        )
        assert status == 0, f"{snippet}\n{written}"
        self._exported += "".join(re.findall(r"^export .*\n", snippet, re.MULTILINE))
        return written

    def process(self, snippet: str) -> Child:
        """A snippet that runs until it is stopped."""
        name = snippet.strip().replace(" ", "-")
        return Child(
            name,
            ["/bin/bash", "-c", f"{self._exported}\nexec {snippet}"],
            env=self._environment(),
            cwd=self._folder,
            log_path=self._folder / f"{name}.log",
        )

    def _here(self, snippet: str) -> str:
        for place, ours in self._places.items():
            snippet = snippet.replace(place, ours)
        return snippet

    def _environment(self) -> dict[str, str]:
        kept = {name: text for name, text in os.environ.items() if not name.startswith("ORCH_")}
        return {
            **kept,
            "PATH": f"{Path('.venv/bin').absolute()}:{kept['PATH']}",
            "PYTHONPATH": str(Path.cwd()),
            "ORCH_API_GRPC_PORT": self._places["9000"],
            "ORCH_API_HTTP_PORT": self._places["8000"],
            "ORCH_API_SERVER": f"127.0.0.1:{self._places['9000']}",
        }


@pytest_asyncio.fixture(loop_scope="session")
async def machine(
    kafka_bootstrap: str, postgres_dsn: str, tmp_path: Path
) -> AsyncIterator[Machine]:
    (tmp_path / "dsn").write_text(await a_database(postgres_dsn))
    grpc_port, http_port, *services = map(str, free_ports(4))
    services_of = {
        "ORCH_DEMO_RETRIEVAL_PORT": services[0],
        "ORCH_DEMO_RAG_ENGINE_PORT": services[1],
    }
    machine = Machine(
        tmp_path,
        {
            "kafka.internal:9092": kafka_bootstrap,
            "/run/secrets/orchestrator-dsn": str(tmp_path / "dsn"),
            "retrieval.internal:9001": f"127.0.0.1:{services[0]}",
            "rag-engine.internal:9001": f"127.0.0.1:{services[1]}",
            "prefix: orchestrator.": f"prefix: page-{os.urandom(3).hex()}.",
            "9000": grpc_port,
            "8000": http_port,
        },
    )
    others = free_ports(3)
    rest = ("AGENT_ENGINE", "VOICE_ENGINE", "MULTIMODAL_ENGINE")
    services_of |= {f"ORCH_DEMO_{name}_PORT": str(p) for name, p in zip(rest, others, strict=True)}
    demo = Child(
        "demo-services",
        [sys.executable, "-m", "orchestrator", "demo-services"],
        env={**os.environ, **services_of, "PYTHONPATH": str(Path.cwd())},
        log_path=tmp_path / "services.log",
    )
    demo.start()
    yield machine
    await demo.stop(10)


async def test_the_page_leads_from_nothing_to_a_task_that_has_ended(machine: Machine) -> None:
    [configure, kafka, postgres, key, worker, serve, look, create, rules] = PAGE.shell
    async with AsyncExitStack() as stack:
        shown = await machine.run(configure)
        assert "12" in shown
        assert "kafka-acls.sh" in await machine.run(kafka)
        assert "applied" in await machine.run(postgres)
        await machine.run(key)
        for snippet in (worker, serve):
            process = machine.process(snippet)
            process.start()
            stack.push_async_callback(process.stop, 30)

        await until_well(machine, look)
        assert '"status":"completed"' in (await machine.run(create)).replace('": "', '":"')

    assert _PROMTOOL in rules


async def until_well(machine: Machine, snippet: str) -> None:
    """Run the checks of the page until all of them are content: the processes have just begun."""
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                await machine.run(snippet)
            except AssertionError:
                await asyncio.sleep(0.5)
            else:
                return
