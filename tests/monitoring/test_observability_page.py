"""The commands of docs/observability.md, run as they stand there, from metrics to a trace."""

import asyncio
import os
import re
import shlex
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from orchestrator.local.dev.system import DEV_DEFAULTS, System, open_system
from orchestrator.local.embedded.process import Child
from orchestrator.settings import load_settings
from tests.api.calling import free_ports
from tests.api.snippets import Page, written_by
from tests.debian import ALERTMANAGER, PROMETHEUS, a_program
from tests.e2e.driving import ANY_PORTS, WAIT_S, Running, a_database, a_rag_task
from tests.monitoring.alertmanager import alertmanager_command
from tests.monitoring.receiver_wheel import receiver_folder

PAGE = Page("docs/observability.md")
_PORTS = ("127.0.0.1:9090", "127.0.0.1:9093", "127.0.0.1:4317", "127.0.0.1:4318")
_ELSEWHERE = ("ORCH_TRACES_ENDPOINT=http://127.0.0.1:4318 make run\n",)
"""What this test does in another way: it starts the system itself, with this setting."""
_SERVERS = re.compile(r"--web\.listen-address|--otlp-http-endpoint")


@dataclass(frozen=True, slots=True)
class Shell:
    """A folder like the project's after `make run`, on ports of its own."""

    folder: Path
    system: System
    ports: dict[str, str]

    async def run(self, snippet: str) -> str:
        """What a snippet writes to standard output."""
        _, written = await written_by(
            *("bash", "-c", "set -eu\n" + self.moved(snippet)),
            environment=self.environment(),
            folder=self.folder,
            timeout_s=WAIT_S,
        )
        return written

    async def until(self, snippet: str, text: str) -> str:
        """Run a snippet again until its output has a text."""
        written = ""
        try:
            async with asyncio.timeout(WAIT_S):
                while text not in (written := await self.run(snippet)):  # noqa: ASYNC110  # another process
                    await asyncio.sleep(0.5)
        except TimeoutError:
            raise AssertionError(f"{snippet}wrote {written!r}, without {text!r}") from None
        return written

    def server(self, name: str, snippet: str) -> Child:
        """A snippet that runs until it is killed."""
        script = "set -eu\n" + self.moved(snippet)
        path = self.folder / f"{name}.log"
        return Child(
            name,
            ["/bin/bash", "-c", script],
            env=self.environment(),
            log_path=path,
            cwd=self.folder,
        )

    def moved(self, snippet: str) -> str:
        """The snippet with our ports."""
        for usual, ours in self.ports.items():
            snippet = snippet.replace(usual, ours)
        return snippet

    def environment(self) -> dict[str, str]:
        kept = {name: text for name, text in os.environ.items() if not name.startswith("ORCH_")}
        path = f"{self.folder / 'bin'}:{Path('.venv/bin').absolute()}:{kept['PATH']}"
        server = {"ORCH_API_SERVER": self.system.grpc_address, "ORCH_API_KEY": "unused"}
        [receiver] = re.findall(r"pip install (rotel==\S+)`", PAGE.text)
        wheel = {"PYTHONPATH": str(receiver_folder(receiver))}
        return {**kept, **server, **wheel, "PATH": path}


@pytest_asyncio.fixture(loop_scope="session")
async def shell(kafka_bootstrap: str, postgres_dsn: str, tmp_path: Path) -> AsyncIterator[Shell]:
    """A running system whose traces go to the receiver of the page."""
    ours = [f"127.0.0.1:{port}" for port in free_ports(len(_PORTS))]
    ports = dict(zip(_PORTS, ours, strict=True))
    await asyncio.to_thread(_make_folder, tmp_path)
    environment = {
        **ANY_PORTS,
        "ORCH_KAFKA_BOOTSTRAP": kafka_bootstrap,
        "ORCH_POSTGRES_DSN": await a_database(postgres_dsn),
        "ORCH_TOPICS_PREFIX": "page.",
        "ORCH_TOPICS_PARTITIONS": "1",
        "ORCH_TRACES_ENDPOINT": f"http://{ports['127.0.0.1:4318']}",
        # The SDK's own variable: otherwise spans wait for 5 s.
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    settings = load_settings(environment, DEV_DEFAULTS)
    logs = tmp_path / ".orchestrator/logs"
    async with open_system(settings, environment=environment, logs=logs) as system:
        running = Running(system=system, call_log=tmp_path / "calls.jsonl", logs=logs)
        await running.create([task := a_rag_task()])
        await running.ended([task.task_id])
        yield Shell(tmp_path, system, ports)


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.prometheus
async def test_the_page_leads_from_a_running_system_to_a_graph_and_a_trace(shell: Shell) -> None:
    [process, prometheus, graph, alertmanager, alerts, receiver, trace, spans] = [
        snippet for snippet in PAGE.shell if snippet not in _ELSEWHERE
    ]
    async with AsyncExitStack() as stack:
        for name, snippet in zip(
            ("prometheus", "alertmanager", "receiver"),
            (prometheus, alertmanager, receiver),
            strict=True,
        ):
            assert _SERVERS.search(snippet)
            server = shell.server(name, snippet)
            server.start()
            stack.callback(server.kill)

        written = await shell.run(process)
        assert "router.json" in written
        assert '{"status":"ok"}' in written
        assert "orchestrator_live_tasks{" in written

        await shell.until(graph, '{role="router"} => 1')
        await shell.until(graph, 'status="completed"')

        await shell.until(alerts, "Alertname")

        # Spans arrive a moment after their work.
        found = await shell.run(f"{trace}until {spans.strip()}; do sleep 0.2; done")
        assert int(found.split()[-1]) > 0, found


def test_nothing_of_the_page_is_left_out() -> None:
    assert [snippet for snippet in PAGE.shell if "make " in snippet] == list(_ELSEWHERE)


def _make_folder(folder: Path) -> None:
    shutil.copytree("deploy", folder / "deploy")
    (folder / ".venv").symlink_to(Path(".venv").absolute())
    _make_programs(folder / "bin")
    _hasten(folder / "deploy/prometheus/prometheus.yaml")


def _make_programs(folder: Path) -> None:
    """The programs of the page under their names."""
    folder.mkdir()
    commands: dict[str, list[str | Path]] = {
        "prometheus": [a_program("prometheus", PROMETHEUS)],
        "promtool": [a_program("promtool", PROMETHEUS)],
        "amtool": [a_program("amtool", ALERTMANAGER)],
        "prometheus-alertmanager": alertmanager_command(),
    }
    for name, command in commands.items():
        path = folder / name
        path.write_text(f'#!/bin/sh\nexec {shlex.join(map(str, command))} "$@"\n')
        path.chmod(0o755)


def _hasten(path: Path) -> None:
    text = path.read_text("utf-8")
    path.write_text(re.sub(r"(scrape|evaluation|refresh)_interval: \w+", r"\1_interval: 1s", text))
