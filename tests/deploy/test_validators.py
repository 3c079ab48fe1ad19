"""Helm, Kubernetes' own schemas, those of custom resources, and trivy find nothing."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.chart import CHART, EVERYTHING, PRODUCTION, VALUE_FILES
from tests.deploy.rendered import NAMESPACE, RELEASE, Object, objects, of_kind, pods, run_helm
from tests.deploy.tools import custom_resources, kubernetes_validate, trivy

pytestmark = [pytest.mark.helm, pytest.mark.timeout(600)]
EACH_FILE = pytest.mark.parametrize("path", [*VALUE_FILES, EVERYTHING], ids=lambda path: path.stem)
KUBERNETES = "1.36"
CUSTOM = ("keda.sh", "monitoring.coreos.com")
ACCEPTED = {
    "KSV011": "no limit of CPU: a process that waits for its share misses heartbeats",
    "KSV-01010": "a ConfigMap that names the file of a password",
}
"""Findings of trivy, of any severity, that are meant so."""


@pytest.mark.parametrize("values", [(), *((path,) for path in (*VALUE_FILES, EVERYTHING))], ids=str)
def test_helm_finds_nothing(values: tuple[Path, ...]) -> None:
    files = [word for path in values for word in ("--values", str(path))]
    linted = run_helm("lint", "--strict", str(CHART), *files)

    assert linted.returncode == 0, linted.stdout + linted.stderr
    assert "1 chart(s) linted, 0 chart(s) failed" in linted.stdout


def test_helm_refuses_a_secret_in_the_configuration() -> None:
    linted = run_helm("lint", str(CHART), "--set", "config.data.kafka.password=hunter2")

    assert linted.returncode != 0
    assert "/config/data/kafka/password" in linted.stdout + linted.stderr


def test_a_packaged_chart_renders_the_same(tmp_path: Path) -> None:
    packaged = run_helm("package", str(CHART), "--destination", str(tmp_path))
    assert packaged.returncode == 0, packaged.stderr
    [archive] = tmp_path.glob("*.tgz")
    rendered = run_helm(
        *("template", RELEASE, str(archive), "--namespace", NAMESPACE, "--values", str(PRODUCTION))
    )

    # The rules and dashboards are links in the folder.
    found = [one for one in yaml.safe_load_all(rendered.stdout) if one]
    assert found == list(objects(PRODUCTION))


@EACH_FILE
def test_kubernetes_takes_every_object(path: Path, tmp_path: Path) -> None:
    core = [one for one in objects(path) if not is_custom(one)]

    assert refused_by_kubernetes(core, tmp_path) == []


def test_kubernetes_would_refuse_an_unknown_field(tmp_path: Path) -> None:
    [serve] = of_kind(objects(PRODUCTION), "Deployment")
    wrong = copy.deepcopy(serve)
    wrong["spec"]["template"]["spec"]["containers"][0]["comand"] = ["orchestrator"]

    assert refused_by_kubernetes([wrong], tmp_path) != []


def is_custom(one: Object) -> bool:
    return str(one["apiVersion"]).startswith(CUSTOM)


def refused_by_kubernetes(found: list[Object], folder: Path) -> list[str]:
    """The lines about objects that do not pass; each object has a line."""
    file = folder / "objects.yaml"
    file.write_text(yaml.safe_dump_all(found))
    command = (sys.executable, "-m", "kubernetes_validate", "-k", KUBERNETES, "--strict", file)
    environment = {**os.environ, "PYTHONPATH": str(kubernetes_validate())}
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    lines = ended.stdout.splitlines()
    assert len(lines) == len(found), ended.stdout + ended.stderr
    return [line for line in lines if " passed for resource " not in line]


@pytest.mark.parametrize("path", [PRODUCTION, EVERYTHING], ids=lambda path: path.stem)
def test_the_operators_take_their_objects(path: Path) -> None:
    custom = [one for one in objects(path) if is_custom(one)]

    assert {one["kind"] for one in custom} == {"ScaledObject", "PodMonitor", "PrometheusRule"}
    assert [one for one in judged(custom) if one["wrong"]] == []


def test_an_operator_would_refuse_a_wrong_field() -> None:
    wrong = copy.deepcopy(of_kind(objects(PRODUCTION), "ScaledObject")[0])
    wrong["spec"]["maxReplicaCount"] = "many"

    [judgement] = judged([wrong])
    assert "maxReplicaCount" in judgement["wrong"]


def judged(found: list[Object]) -> list[dict[str, Any]]:
    script = Path(__file__).with_name("validate_custom_resources.mjs")
    ended = subprocess.run(
        ("node", script, custom_resources()),
        input=json.dumps(found),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    judgements = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(judgements) == len(found)
    return judgements


@EACH_FILE
def test_trivy_finds_nothing_that_is_not_meant_so(path: Path, tmp_path: Path) -> None:
    assert findings(list(objects(path)), tmp_path) <= ACCEPTED.keys()


def test_trivy_would_find_a_writable_root(tmp_path: Path) -> None:
    found = copy.deepcopy(list(objects(PRODUCTION)))
    for pod in pods(tuple(found)):
        pod.container["securityContext"]["readOnlyRootFilesystem"] = False

    assert "KSV014" in findings(found, tmp_path)


def findings(found: list[Object], folder: Path) -> set[str]:
    (folder / "objects.yaml").write_text(yaml.safe_dump_all(found))
    options = ("--quiet", "--skip-check-update", "--format", "json")
    ended = subprocess.run(
        (trivy(), "config", *options, folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    [result] = json.loads(ended.stdout)["Results"]
    # What was not understood would have no finding either.
    assert result["MisconfSummary"]["Successes"] > 20
    return {one["ID"].removeprefix("AVD-") for one in result.get("Misconfigurations", ())}
