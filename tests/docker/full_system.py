"""The whole system of compose.full.yaml, started by the commands of its page."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.api.calling import free_ports
from tests.api.snippets import Page
from tests.docker.engine import compose_environment, run_program
from tests.docker.images import make_images, replace_missing

PAGE = Page("docs/operations/image-and-compose.md")
FILE = "deploy/compose.full.yaml"
PREFIX = "orchestrator."
_LABEL = "ai-orchestrator.test"
_WAIT_S = 240.0
_USUAL = {
    "KAFKA_PORT": 9092,
    "POSTGRES_PORT": 5432,
    "HTTP_PORT": 8000,
    "GRPC_PORT": 9000,
    "PROMETHEUS_PORT": 9090,
    "ALERTMANAGER_PORT": 9093,
    "GRAFANA_PORT": 3000,
    "JAEGER_PORT": 16686,
}


@dataclass(slots=True)
class FullSystem:
    """The containers of a project, in a folder like that of the page's reader."""

    folder: Path
    replaced: dict[str, str]
    ports: dict[str, int]
    services: dict[str, Any]
    environment: dict[str, str] = field(default_factory=dict)

    async def run(self, snippet: str) -> str:
        """What a snippet of the page writes."""
        for name, usual in _USUAL.items():
            snippet = snippet.replace(f"127.0.0.1:{usual}", f"127.0.0.1:{self.ports[name]}")
        return await run_program(
            "bash", "-ceu", snippet.replace("curl ", "curl --fail "), **self._where()
        )

    async def compose(self, *arguments: str) -> str:
        """What a command of Compose writes."""
        return await run_program("docker", "compose", "-f", FILE, *arguments, **self._where())

    async def states(self) -> dict[str, dict[str, Any]]:
        """By service, what Docker knows of its container."""
        ids = (await self.compose("ps", "--all", "--quiet")).split()
        found = json.loads(await run_program("docker", "inspect", *ids)) if ids else []
        return {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in found}

    async def running(self) -> list[str]:
        """The services whose containers run on: all but the jobs."""
        states = await self.states()
        return [name for name, one in states.items() if one["State"]["Running"]]

    async def ready(self, service: str) -> None:
        """Wait until a container runs, and is healthy if it is checked."""
        try:
            async with asyncio.timeout(_WAIT_S):
                while not _is_ready((await self.states())[service]["State"]):  # noqa: ASYNC110
                    await asyncio.sleep(0.5)
        except TimeoutError:
            written = await self.compose("logs", "--tail", "30", service)
            raise AssertionError(f"{service} is not ready:\n{written}") from None

    async def restart(self, service: str) -> None:
        """Restart a container as an operator does, and wait until it is ready."""
        await self.compose("restart", service)
        await self.ready(service)

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.ports['KAFKA_PORT']}"

    @property
    def dsn(self) -> str:
        password = self.secret("POSTGRES_PASSWORD")
        port = self.ports["POSTGRES_PORT"]
        return f"postgresql://orchestrator:{password}@127.0.0.1:{port}/orchestrator"

    @property
    def partitions(self) -> int:
        return int(self.services["router"]["environment"]["ORCH_TOPICS_PARTITIONS"])

    def secret(self, name: str) -> str:
        lines = (self.folder / "deploy/.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)[name]

    def caller(self) -> httpx.AsyncClient:
        """A client of the service, with the key of the page."""
        key = json.loads((self.folder / "deploy/key.json").read_text())["key"]
        return httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.ports['HTTP_PORT']}",
            headers={"Authorization": f"Bearer {key}", "Prefer": "wait=90"},
            timeout=100,
        )

    async def of_prometheus(self, query: str) -> list[dict[str, Any]]:
        """The samples of an instant query."""
        url = f"http://127.0.0.1:{self.ports['PROMETHEUS_PORT']}/api/v1/query"
        async with httpx.AsyncClient() as client:
            found: list[dict[str, Any]] = (await client.get(url, params={"query": query})).json()[
                "data"
            ]["result"]
        return found

    def _where(self) -> dict[str, Any]:
        return {"cwd": self.folder, "env": self.environment}


@asynccontextmanager
async def open_full_system(folder: Path, faults: str) -> AsyncIterator[FullSystem]:
    """Make the images, start everything with the page's commands, and remove it at the end.

    Args:
        folder: an empty one.
        faults: of the reference services.
    """
    print("\n" + await make_images())
    await _remove_leftovers()
    shutil.copytree("deploy", folder / "deploy", ignore=shutil.ignore_patterns(".env", "key.json"))
    compose = yaml.safe_load((folder / FILE).read_text("utf-8"))
    replaced = await replace_missing(compose, folder / "stand-ins")
    for service, what in replaced.items():
        print(f"{service}: {what}")
    services = compose["services"]
    services["demo-services"]["environment"]["ORCH_DEMO_FAULTS"] = faults
    for service in services.values():
        service["labels"] = {_LABEL: "full-system"}
    (folder / FILE).write_text(yaml.safe_dump(compose, sort_keys=False))
    ports = dict(zip(_USUAL, free_ports(len(_USUAL)), strict=True))
    environment = {
        **{name: str(port) for name, port in ports.items()},
        **await compose_environment(folder / "docker"),
        "COMPOSE_PROJECT_NAME": f"orch-test-{uuid.uuid4().hex[:8]}",
        "COMPOSE_ANSI": "never",
    }
    system = FullSystem(folder, replaced, ports, services, environment)
    secrets, start = PAGE.shell[1:3]
    try:
        await system.run(secrets)
        print(await system.run(start))
        for service in await system.running():
            await system.ready(service)
        yield system
    finally:
        if "KEEP_CONTAINERS" not in os.environ:
            await system.compose("down", "--volumes", "--remove-orphans", "--timeout", "5")


async def _remove_leftovers() -> None:
    """Remove the containers of a run that was killed."""
    label = f"label={_LABEL}"
    found = await run_program("docker", "ps", "--all", "--quiet", "--filter", label)
    if found.split():
        await run_program("docker", "rm", "--force", "--volumes", *found.split())


def _is_ready(state: dict[str, Any]) -> bool:
    health = state.get("Health", {}).get("Status", "healthy")
    return state["Running"] and health == "healthy" and not state["Restarting"]
