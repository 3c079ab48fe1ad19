"""What Helm makes of the chart: objects, and the pods in them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.chart import CHART
from tests.deploy.tools import helm

Object = dict[str, Any]
RELEASE, NAMESPACE = "ai-orchestrator", "tasks"
HELM_S = 60.0


def run_helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Helm; nothing is installed."""
    return subprocess.run(
        [helm(), *arguments], capture_output=True, text=True, check=False, timeout=HELM_S
    )


def template(*values: Path, settings: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Render the chart with value files and ``NAME=VALUE`` settings."""
    files = [word for path in values for word in ("--values", str(path))]
    given = [word for setting in settings for word in ("--set", setting)]
    return run_helm("template", RELEASE, str(CHART), "--namespace", NAMESPACE, *files, *given)


@cache
def objects(*values: Path, settings: tuple[str, ...] = ()) -> tuple[Object, ...]:
    """All objects, hooks included; AssertionError with what Helm said if it refuses."""
    ended = template(*values, settings=settings)
    assert ended.returncode == 0, ended.stderr
    return tuple(found for found in yaml.safe_load_all(ended.stdout) if found)


def of_kind(found: tuple[Object, ...], kind: str) -> list[Object]:
    return [one for one in found if one["kind"] == kind]


def named(found: tuple[Object, ...], kind: str, name: str) -> Object:
    [one] = [one for one in of_kind(found, kind) if one["metadata"]["name"] == name]
    return one


@dataclass(frozen=True)
class Pod:
    """The template of a pod, and the object that makes pods of it."""

    kind: str
    name: str
    template: Object
    replicas: int

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.template["metadata"]["labels"])

    @property
    def role(self) -> str:
        return self.labels["app.kubernetes.io/component"]

    @property
    def spec(self) -> Object:
        return dict(self.template["spec"])

    @property
    def container(self) -> Object:
        [one] = self.spec["containers"]
        return dict(one)

    @property
    def runs_on(self) -> bool:
        """It is no job."""
        return self.kind != "Job"

    def names(self) -> list[str]:
        """The names of its pods: those of a StatefulSet stay, others are drawn."""
        stays = self.kind == "StatefulSet"
        return [f"{self.name}-{n if stays else f'drawn{n}'}" for n in range(self.replicas)]


def pods(found: tuple[Object, ...]) -> Iterator[Pod]:
    """Every pod of the objects."""
    for one in found:
        if one["kind"] in ("StatefulSet", "Deployment", "Job"):
            yield Pod(
                kind=one["kind"],
                name=one["metadata"]["name"],
                template=one["spec"]["template"],
                # KEDA decides it where nothing is said.
                replicas=one["spec"].get("replicas", 2),
            )


def config_of(found: tuple[Object, ...], pod: Pod) -> str:
    """The configuration file that a pod mounts."""
    [volume] = [one for one in pod.spec["volumes"] if one["name"] == "config"]
    text: str = named(found, "ConfigMap", volume["configMap"]["name"])["data"]["config.yaml"]
    return text
