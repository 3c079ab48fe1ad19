"""Prometheus and Alertmanager of Debian, with the rules of ``deploy``, and a receiver of alerts."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from orchestrator.local.embedded.process import Child
from tests.api.calling import free_ports
from tests.debian import PROMETHEUS, a_program
from tests.monitoring.alertmanager import alertmanager_command
from tests.monitoring.observe.webhook import Webhook

RULES = Path("deploy/prometheus")
ALERT_ROUTES = Path("deploy/alertmanager/alertmanager.yaml")
SCRAPE_S = 1
SHORTEST_S = 5
"""Alerts wait for no longer here than this; their real times are tested with promtool."""
_READY_S = 30.0


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running Prometheus."""

    client: httpx.AsyncClient

    async def values(self, expression: str) -> list[float]:
        """The values of all series that an expression returns now; NaN is none.

        Raises:
            AssertionError: Prometheus refuses the expression.
        """
        answer = await self.client.get("/api/v1/query", params={"query": expression})
        document = answer.json()
        assert document["status"] == "success", f"{expression}: {document}"
        result = document["data"]["result"]
        pairs = [result] if document["data"]["resultType"] == "scalar" else None
        found = [float(pair[1]) for pair in pairs or (series["value"] for series in result)]
        return [value for value in found if value == value]

    async def rules(self) -> list[dict[str, Any]]:
        """Every rule that is loaded, with its health."""
        answer = await self.client.get("/api/v1/rules")
        groups = answer.json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


@asynccontextmanager
async def open_prometheus(
    folder: Path, targets: Path, webhook: Webhook
) -> AsyncIterator[Prometheus]:
    """Both servers, as they would run in production but for their times and addresses."""
    port, alert_port = free_ports(2)
    _write(folder / "prometheus.yaml", _configuration(folder, targets, alert_port))
    children = [_prometheus(folder, port)]
    _write(folder / "alertmanager.yaml", _routes(webhook.url))
    children.append(_alertmanager(folder, alert_port))
    for child in children:
        child.start()
    try:
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as client:
            await _ready(client, children)
            yield Prometheus(client)
    finally:
        for child in children:
            child.kill()


def _configuration(folder: Path, targets: Path, alert_port: int) -> dict[str, Any]:
    rules = []
    for path in sorted(RULES.glob("*.yaml")):
        document = yaml.safe_load(path.read_text("utf-8"))
        if "groups" in document:
            _write(folder / "rules" / path.name, hastened(document))
            rules.append(str(folder / "rules" / path.name))
    return {
        "global": {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": f"{SCRAPE_S}s"},
        "rule_files": rules,
        "alerting": {
            "alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alert_port}"]}]}]
        },
        "scrape_configs": [
            {
                "job_name": "ai-orchestrator",
                "file_sd_configs": [{"files": [f"{targets}/*.json"], "refresh_interval": "1s"}],
            }
        ],
    }


def hastened(rules: dict[str, Any]) -> dict[str, Any]:
    """Rules that are evaluated each second, and whose alerts wait for seconds."""
    for group in rules["groups"]:
        group.pop("interval", None)
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = f"{SHORTEST_S}s"
    return rules


def _routes(url: str) -> dict[str, Any]:
    """The routes of ``deploy``, at once, and to our receiver."""
    text = re.sub(r"(group_wait|group_interval): *\w+", r"\1: 1s", ALERT_ROUTES.read_text("utf-8"))
    document: dict[str, Any] = yaml.safe_load(text)
    for receiver in document["receivers"]:
        for hook in receiver.get("webhook_configs", ()):
            hook["url"] = f"{url}/{receiver['name']}"
    return document


def _prometheus(folder: Path, port: int) -> Child:
    arguments: list[str | Path] = [
        a_program("prometheus", PROMETHEUS),
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'prometheus-data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    return Child("prometheus", arguments, env={**os.environ}, log_path=folder / "prometheus.log")


def _alertmanager(folder: Path, port: int) -> Child:
    arguments: list[str | Path] = [
        *alertmanager_command(),
        f"--config.file={folder / 'alertmanager.yaml'}",
        f"--storage.path={folder / 'alertmanager-data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    path = folder / "alertmanager.log"
    return Child("alertmanager", arguments, env={**os.environ}, log_path=path)


async def _ready(client: httpx.AsyncClient, children: list[Child]) -> None:
    until = time.monotonic() + _READY_S
    while time.monotonic() < until:
        for child in children:
            assert child.returncode is None, f"{child.name} ended: {child.log_tail()}"
        try:
            if (await client.get("/-/ready")).status_code == 200:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.1)
    raise AssertionError(f"not ready after {_READY_S} s: {children[0].log_tail()}")


def _write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")
