"""The steps of docs/operations.md, run as they stand there, until a task has ended."""

import asyncio
import configparser
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio
import yaml

from agents.steps.settings import WorkerSettings
from orchestrator.api.settings import ApiSettings
from orchestrator.local.embedded.process import Child
from tests.api.calling import free_ports
from tests.api.snippets import Page, written_by
from tests.e2e.driving import WAIT_S

pytestmark = pytest.mark.pages
PAGE = Page("docs/operations.md")
_PROMTOOL = "promtool check rules"
"""`make test-prometheus` checks the same files: this test fetches no program."""
_NAME = f"page_{os.urandom(3).hex()}"
_ANALYSTS = f"{_NAME}_analysts"
DSN = "postgresql://orchestrator:PASSWORD@db.internal:5432/orchestrator"


class Machine:
    """A folder, and shells in it; what the page names is elsewhere here."""

    def __init__(self, folder: Path, places: Mapping[str, str]) -> None:
        self._folder = folder
        self._places = places
        self._exported = ""

    async def run(self, snippet: str) -> str:
        """What a snippet writes; what it exports stays."""
        script = self._here(f"set -eu\n{self._exported}\n{snippet}")
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
            ["/bin/bash", "-c", self._here(f"{self._exported}\nexec {snippet}")],
            env=self._environment(),
            cwd=self._folder,
            log_path=self._folder / f"{name}.log",
        )

    def modes(self, *files: str) -> set[int]:
        """The modes of files in the folder."""
        return {(self._folder / file).stat().st_mode & 0o777 for file in files}

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
            "ORCH_API_SERVER": f"127.0.0.1:{self._places['9000']}",
        }


@pytest_asyncio.fixture(loop_scope="session")
async def machine(
    kafka_bootstrap: str, postgres_dsn: str, tmp_path: Path
) -> AsyncIterator[Machine]:
    grpc_port, http_port, worker_port, serve_port, *services = map(str, free_ports(6))
    services_of = {
        "ORCH_DEMO_RETRIEVAL_PORT": services[0],
        "ORCH_DEMO_RAG_ENGINE_PORT": services[1],
    }
    machine = Machine(
        tmp_path,
        {
            "kafka.internal:9092": kafka_bootstrap,
            DSN: await database_of_the_page(postgres_dsn),
            "--analysts analysts": f"--analysts {_ANALYSTS}",
            "/etc/orchestrator": str(tmp_path / "etc"),
            "/var/lib/orchestrator": str(tmp_path / "lib"),
            "retrieval.internal:9001": f"127.0.0.1:{services[0]}",
            "rag-engine.internal:9001": f"127.0.0.1:{services[1]}",
            "prefix: orchestrator.": f"prefix: page-{os.urandom(3).hex()}.",
            "9000": grpc_port,
            "8000": http_port,
            "9101": worker_port,
            "9102": serve_port,
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


async def database_of_the_page(server_dsn: str) -> str:
    """What an administrator makes, with its statements, under names of this test; its DSN."""
    [statements] = re.findall(r"```sql\n(.*?)```", PAGE.text, re.DOTALL)
    administrator = await asyncpg.connect(server_dsn)
    for statement in filter(str.strip, statements.split(";")):
        named = re.sub(r"\borchestrator\b", _NAME, re.sub(r"\banalysts\b", _ANALYSTS, statement))
        await administrator.execute(named)
    await administrator.close()
    server = urlsplit(server_dsn)
    return f"postgresql://{_NAME}:PASSWORD@{server.hostname}:{server.port}/{_NAME}"


@pytest.mark.asyncio(loop_scope="session")
async def test_the_page_leads_from_nothing_to_a_task_that_has_ended(machine: Machine) -> None:
    [configure, kafka, postgres, key, worker, serve, look, create, rules, links] = PAGE.shell
    async with AsyncExitStack() as stack:
        shown = await machine.run(configure)
        assert "12" in shown
        assert "kafka-acls.sh" in await machine.run(kafka)
        assert "applied" in await machine.run(postgres)
        await machine.run(key)
        assert machine.modes("acme.key", "etc/dsn", "etc/keys.jsonl") == {0o600}
        for snippet in (worker, serve):
            process = machine.process(snippet)
            process.start()
            stack.push_async_callback(process.stop, 30)

        await until_well(machine, look)
        assert '"status":"completed"' in (await machine.run(create)).replace('": "', '":"')

        status = await machine.run("orchestrator status -o json")
        processes = json.loads(status)["processes"]
        assert [one["name"].partition("-")[0] for one in processes] == ["all", "serve"]
        assert all(one["pid"] for one in processes)

    assert _PROMTOOL in rules
    assert "sed " in links


def test_the_alerts_of_the_page_link_to_the_address_that_the_command_puts_in(
    tmp_path: Path,
) -> None:
    command = PAGE.shell[-1].replace("> alerts.yaml", f"> {tmp_path}/alerts.yaml")
    subprocess.run(["bash", "-c", command], check=True, timeout=10)
    changed = yaml.safe_load((tmp_path / "alerts.yaml").read_text())
    links = {
        rule["annotations"]["runbook_url"] for group in changed["groups"] for rule in group["rules"]
    }

    assert {link.partition("#")[0] for link in links} == {
        "https://wiki.internal/orchestrator/runbook.md"
    }


def test_the_unit_of_the_page_waits_longer_than_a_process_takes_to_end() -> None:
    [text] = re.findall(r"```ini\n(.*?)```", PAGE.text, re.DOTALL)
    unit = configparser.ConfigParser(strict=False)
    unit.read_string(text)
    [service] = [dict(unit["Service"])]
    drain_s = max(WorkerSettings().drain_s, ApiSettings().drain_s)

    assert service["execstart"].endswith("/orchestrator worker all")
    assert float(service["timeoutstopsec"]) >= drain_s + 40


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
