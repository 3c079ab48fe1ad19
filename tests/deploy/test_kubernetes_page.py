"""The commands of docs/operations/kubernetes.md, as far as they need no cluster; its names."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.commands import run_command
from tests.deploy.chart import CHART, EXTERNAL_KAFKA, PRODUCTION, SMALL, defaults
from tests.deploy.rendered import Pod, objects, of_kind, pods, run_helm
from tests.deploy.tools import kubectl

pytestmark = pytest.mark.helm
PAGE = Path("docs/operations/kubernetes.md").read_text("utf-8")
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
]
[VALUES] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
# Of the cluster: `helm install` and `helm upgrade` are rendered instead.
_OF_A_CLUSTER = re.compile(
    r"kubectl create namespace|kubectl -n tasks (get|exec|rollout)|helm (rollback|uninstall)"
)


def commands(beginning: str) -> list[list[str]]:
    """The words of the commands that begin so."""
    return [shlex.split(line) for line in COMMANDS if line.startswith(beginning)]


def test_every_command_of_the_page_is_tried_or_needs_a_cluster() -> None:
    tried = ("helm lint", "helm template", "helm install", "helm upgrade", "orchestrator keys new")
    secrets = r"kubectl -n tasks create secret"
    for line in COMMANDS:
        assert line.startswith((*tried, secrets)) or _OF_A_CLUSTER.match(line), line


@pytest.mark.parametrize("command", commands("helm lint") + commands("helm template"), ids=" ".join)
def test_helm_takes_the_values_of_the_page(command: list[str], tmp_path: Path) -> None:
    ended = run_helm(*with_values(command[1:], tmp_path))

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "rag.ai-services" in ended.stdout or command[1] == "lint"


@pytest.mark.parametrize(
    "command", commands("helm install") + commands("helm upgrade"), ids=" ".join
)
def test_an_install_renders_every_role(command: list[str], tmp_path: Path) -> None:
    words = [word for word in command[2:] if word != "--wait"]
    ended = run_helm("template", *with_values(words, tmp_path))
    found = [one for one in yaml.safe_load_all(ended.stdout) if one]

    assert ended.returncode == 0, ended.stderr
    assert {one["kind"] for one in found} >= {"StatefulSet", "Deployment", "Job", "ConfigMap"}


def with_values(words: list[str], folder: Path) -> list[str]:
    file = folder / "my-values.yaml"
    file.write_text(VALUES)
    return [str(file) if word == "my-values.yaml" else word for word in words]


def test_the_secrets_of_the_page_are_those_that_the_pods_ask_for(tmp_path: Path) -> None:
    made = {}
    [new] = commands("orchestrator keys new")
    file = tmp_path / "keys.jsonl"
    arguments = [str(file) if word == file.name else word for word in new[1:]]
    assert run_command(arguments, {}).status == 0
    for command in commands("kubectl -n tasks create secret"):
        dry = (str(kubectl()), *command[1:], "--dry-run=client", "--output=yaml")
        ended = subprocess.run(
            dry, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )
        assert ended.returncode == 0, ended.stderr
        secret = yaml.safe_load(ended.stdout)
        made[secret["metadata"]["name"]] = set(secret["data"])

    assert made == asked_for()


def asked_for() -> dict[str, set[str]]:
    """The Secrets of the small system, with the keys that its pods read."""
    found: dict[str, set[str]] = {}
    for pod in pods(objects(SMALL)):
        for variable in pod.container["env"]:
            reference: Any = variable.get("valueFrom", {}).get("secretKeyRef")
            if reference:
                found.setdefault(reference["name"], set()).add(reference["key"])
        for volume in pod.spec["volumes"]:
            if "secret" in volume:
                file = Path(defaults()["config"]["server"]["keys_file"])
                assert file.parent.name == volume["name"]
                found.setdefault(volume["secret"]["secretName"], set()).add(file.name)
    return found


@pytest.mark.parametrize("path", [PRODUCTION, EXTERNAL_KAFKA], ids=lambda path: path.stem)
def test_the_page_names_every_secret_of_the_larger_systems_with_its_keys(path: Path) -> None:
    rendered = objects(path)
    pods_of = list(pods(rendered))
    names = {name for name, _ in secrets_of(pods_of)}
    names |= {
        tls["secretName"] for one in of_kind(rendered, "Ingress") for tls in one["spec"]["tls"]
    }
    keys = {key for _, key in secrets_of(pods_of) if key}

    assert [word for word in sorted(names | keys) if f"`{word}`" not in PAGE] == []


def secrets_of(found: list[Pod]) -> Iterator[tuple[str, str]]:
    """Each Secret of some pods, with a key that is asked for; no key: it is mounted whole."""
    for pod in found:
        for variable in pod.container["env"]:
            if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                yield reference["name"], reference["key"]
        for volume in pod.spec["volumes"]:
            if secret := volume.get("secret"):
                yield secret["secretName"], ""
                yield from ((secret["secretName"], one["key"]) for one in secret.get("items", ()))


def test_the_notes_name_pods_that_exist_and_checks_that_they_can_make() -> None:
    for path in (SMALL, PRODUCTION):
        names = {f"{pod.kind.lower()}/{pod.name}" for pod in pods(objects(path))}
        said = run_helm(
            "install", "ai-orchestrator", str(CHART), "--dry-run=client", "-f", str(path)
        )
        commands = re.findall(r"exec (\S+) -- orchestrator (.+)", said.stdout)

        assert commands, said.stderr
        for name, command in commands:
            assert name.replace("deploy/", "deployment/") in names
            asked = run_command(command.split(), {"ORCH_DEV_FIND": "false"})
            assert "SETTINGS_INVALID: ORCH_KAFKA_BOOTSTRAP" in asked.err


def test_the_page_names_the_objects_as_helm_names_them() -> None:
    names = {pod.name for path in (SMALL, PRODUCTION) for pod in pods(objects(path))}
    said = set(re.findall(r" (?:deploy|job|statefulset|pod)[/ ](ai-[a-z-]+[a-z])", PAGE))

    assert said
    assert said <= names
