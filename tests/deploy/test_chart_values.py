"""The values of the Helm chart fit the settings, the roles and the topics: without Helm."""

from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from orchestrator import process
from orchestrator.cli import worker
from orchestrator.configuration.chart_values import FILE, chart_schema, text
from orchestrator.configuration.keys import keys
from orchestrator.configuration.load import process_settings
from orchestrator.layout import STEP_PREFIX
from orchestrator.layout import roles as all_roles
from streams.runtime import run
from tasks.pipeline_file import load_pipelines
from tests.deploy.chart import CHART, VALUE_FILES, defaults, step_values, values_of

EACH_FILE = pytest.mark.parametrize("path", VALUE_FILES, ids=lambda path: path.stem)
IMAGE = Path("deploy/Dockerfile")
DASHBOARDS = sorted(path.relative_to("deploy") for path in Path("deploy/grafana").glob("*.json"))
SECRETS = [key for key in keys().values() if key.secret]


def mistakes(values: Any) -> list[str]:
    validator = jsonschema_rs.Draft202012Validator(chart_schema())
    return [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(values)]


def test_the_schema_is_what_the_settings_classes_say_today() -> None:
    assert Path(FILE).read_text("utf-8") == text(), "stale: run `make configuration`"


@EACH_FILE
def test_the_schema_accepts_the_value_files(path: Path) -> None:
    assert mistakes(values_of(path)) == []


@EACH_FILE
def test_a_process_accepts_the_configuration_of_a_value_file(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(values_of(path)["config"]))

    settings = process_settings({"ORCH_CONFIG": str(file)})

    assert settings.metrics.host == "0.0.0.0"
    assert settings.topics.partitions == values_of(path)["config"]["topics"]["partitions"]


@pytest.mark.parametrize("key", SECRETS, ids=lambda key: ".".join(key.path))
def test_a_secret_in_the_configuration_is_refused(key: Any) -> None:
    def with_value(value: str) -> Any:
        nested: Any = value
        for name in reversed(key.path):
            nested = {name: nested}
        config = defaults()["config"]
        return {"config": merged(config, nested)}

    assert mistakes(with_value("postgresql://user:hunter2@db/tasks"))
    assert mistakes(with_value("hunter2"))
    assert mistakes(with_value("file:/run/secrets/one")) == []
    assert mistakes(with_value("${ONE}")) == []


@pytest.mark.parametrize("key", SECRETS, ids=lambda key: key.variable)
def test_a_secret_in_the_environment_of_a_pod_is_a_reference(key: Any) -> None:
    reference = {"secretKeyRef": {"name": "one", "key": "two"}}

    assert mistakes({"pods": {"env": [{"name": key.variable, "value": "hunter2"}]}})
    assert mistakes({"pods": {"env": [{"name": key.variable, "valueFrom": reference}]}}) == []


@pytest.mark.parametrize(
    "values",
    [
        {"rooter": {"replicas": 1}},
        {"config": {"srever": {}}},
        {"steps": {"Retrieve Me": {}}},
        {"router": {"replica": 2}},
        {"stopSeconds": 5},
        {"autoscaling": {"slotsInUse": 1.5}},
        {"config": {"topics": {"partitions": 0}}},
        {"config": {"topics": {"prefix": 'a"} or {b="'}}},
        {"config": {"server": {"http": {"addr": "127.0.0.1:8000"}}}},
        {"config": {"server": {"grpc": {"addr": ":0"}}}},
        {"config": {"metrics": {"host": "127.0.0.1"}}},
        {"fullnameOverride": "Abc_d"},
        {"fullnameOverride": "1abc"},
        {"nameOverride": "ai.orchestrator"},
        {"image": {"repository": "a b"}},
        {"image": {"tag": "a:b"}},
        {"pods": {"labels": {"app.kubernetes.io/component": "router"}}},
        {"pods": {"annotations": {"checksum/config": "0"}}},
        {"monitoring": {"labels": {"helm.sh/chart": "another"}}},
        {"monitoring": {"interval": "bogus"}},
        {"pods": {"tmpSizeLimit": "bogus"}},
    ],
    ids=str,
)
def test_a_mistake_in_the_values_is_refused(values: Any) -> None:
    assert mistakes(merged(defaults(), values))


def test_the_values_of_the_chart_are_no_mistake() -> None:
    assert mistakes(defaults()) == []


def test_the_chart_has_every_role_once() -> None:
    pipelines = load_pipelines()
    steps = {STEP_PREFIX + step for step in defaults()["steps"]}
    components = {"router", "sink", "dlq-index"}

    assert steps | components == set(all_roles(pipelines))


@EACH_FILE
def test_no_step_may_have_more_workers_than_partitions(path: Path) -> None:
    values = values_of(path)
    partitions = values["config"]["topics"]["partitions"]
    if not values["autoscaling"]["enabled"]:
        return
    for step in values["steps"]:
        scaling = step_values(values, step)["autoscaling"]

        assert 1 <= scaling["minReplicas"] <= scaling["maxReplicas"] <= partitions, step


def test_a_process_has_stopped_before_it_is_killed() -> None:
    longest_s = run.FORCE_AFTER_S + process._CLOSE_S + worker._END_S

    assert defaults()["stopSeconds"] > longest_s


@pytest.mark.parametrize(
    "name", ["prometheus/rules.yaml", "prometheus/alerts.yaml", *map(str, DASHBOARDS)]
)
def test_rules_and_dashboards_of_the_chart_are_those_of_deploy(name: str) -> None:
    assert (CHART / name).read_bytes() == Path("deploy", name).read_bytes()


def test_the_chart_can_be_copied_elsewhere_as_a_folder() -> None:
    assert [path for path in CHART.rglob("*") if path.is_symlink()] == []


def test_the_image_runs_what_the_pods_ask_for() -> None:
    last = {line.split()[0]: line for line in IMAGE.read_text("utf-8").splitlines() if line.strip()}
    pod = (CHART / "templates" / "_pod.tpl").read_text("utf-8")

    assert last["ENTRYPOINT"] == 'ENTRYPOINT ["orchestrator"]'
    assert last["USER"] == "USER 10001:10001"
    assert "runAsUser: 10001" in pod
    assert "runAsGroup: 10001" in pod
    assert "command:" not in pod


def test_the_chart_has_the_version_of_the_project() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    project = Path("pyproject.toml").read_text("utf-8")

    assert f'\nversion = "{chart["appVersion"]}"\n' in project


def merged(base: Any, over: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    return {**base, **{name: merged(base.get(name), value) for name, value in over.items()}}
