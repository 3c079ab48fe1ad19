"""What can be said about deploy/compose.full.yaml without an engine."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from agents.steps.settings import WorkerSettings
from orchestrator.api.settings import ApiSettings
from orchestrator.layout import roles
from orchestrator.pipelines import PipelinesSettings, installed_pipelines
from orchestrator.settings import load_settings

FILE = yaml.safe_load(Path("deploy/compose.full.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
OURS = {name: one for name, one in SERVICES.items() if "ORCHESTRATOR" in one["image"]}
ROLES = roles(installed_pipelines(PipelinesSettings()))


def test_compose_takes_the_file() -> None:
    program = Path(sys.executable).with_name("docker-compose")
    secrets = {"POSTGRES_PASSWORD": "a", "GRAFANA_PASSWORD": "b", "ORCH_API_KEYS": "c"}
    taken = subprocess.run(
        [program, "--env-file", os.devnull, "-f", "deploy/compose.full.yaml", "config", "--quiet"],
        env={**os.environ, **secrets},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (taken.returncode, taken.stderr) == (0, "")


def test_every_role_and_the_service_have_a_container_of_their_name() -> None:
    commands = {name: one["command"] for name, one in OURS.items()}

    assert {name: commands[name] for name in ROLES} == {name: ["worker", name] for name in ROLES}
    assert commands["serve"] == ["serve"]


@pytest.mark.parametrize("name", OURS)
def test_our_containers_run_with_settings_that_exist_and_without_rights(name: str) -> None:
    service = OURS[name]
    key = {"ORCH_API_KEYS": f"acme:{64 * '0'}"}  # a variable of deploy/.env
    load_settings(service["environment"] | (key if name == "serve" else {}))

    assert (service["user"], service["read_only"]) == ("10001:10001", True)
    assert service["cap_drop"] == ["ALL"]


@pytest.mark.parametrize("name", [*ROLES, "serve"])
def test_a_container_is_killed_long_after_its_drain_has_ended(name: str) -> None:
    drain_s = {"serve": ApiSettings().drain_s}.get(name, 0.0)
    if name.startswith("step."):
        drain_s = WorkerSettings().drain_s

    assert float(SERVICES[name]["stop_grace_period"].removesuffix("s")) >= drain_s + 20


def test_every_port_is_on_this_machine_only() -> None:
    ports = [port for one in SERVICES.values() for port in one.get("ports", ())]

    assert len(ports) == 8
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_prometheus_asks_every_process() -> None:
    prometheus = yaml.safe_load(Path("deploy/prometheus/compose.yaml").read_text("utf-8"))
    [job] = prometheus["scrape_configs"]
    [group] = job["static_configs"]

    assert sorted(group["targets"]) == sorted(f"{name}:9100" for name in [*ROLES, "serve"])


def test_every_image_of_others_has_a_version() -> None:
    others = [one["image"] for name, one in SERVICES.items() if name not in OURS]

    assert [image for image in others if image.rpartition(":")[2] in ("", "latest")] == []
