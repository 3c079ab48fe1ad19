"""What Helm renders: each pod can stop in time, keeps its name, and is told no secret."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator import process
from orchestrator.cli import worker
from orchestrator.configuration.keys import keys
from orchestrator.configuration.load import process_settings
from orchestrator.layout import consumer_groups
from orchestrator.monitoring import endpoint
from orchestrator.monitoring.target import target_text
from orchestrator.settings import Settings
from streams.runtime import run
from tasks.pipeline_file import load_pipelines
from tests.commands import run_command
from tests.debian import PROMETHEUS, a_program
from tests.deploy.chart import EVERYTHING, EXTERNAL_KAFKA, PRODUCTION, SMALL, VALUE_FILES
from tests.deploy.rendered import Object, Pod, config_of, named, objects, of_kind, pods, template
from tests.monitoring.rule_files import ALERTS, RULES, matchers_of, metrics_of, read

pytestmark = pytest.mark.helm
EACH_FILE = pytest.mark.parametrize("path", VALUE_FILES, ids=lambda path: path.stem)
SECRETS = frozenset(key.variable for key in keys().values() if key.secret)


def settings_of(found: tuple[Object, ...], pod: Pod, folder: Path) -> Settings:
    """What a process of this pod reads from its configuration file."""
    file = folder / f"{pod.role}.yaml"
    file.write_text(config_of(found, pod))
    return process_settings({"ORCH_CONFIG": str(file)})


def drain_s(settings: Settings, role: str) -> float:
    if role == "serve":
        return settings.api.drain_s
    drains = settings.worker.drain_s, settings.kafka.drain_timeout_s
    if role == "all":
        return max(drains)
    return drains[0] if role.startswith("step.") else drains[1]


@pytest.mark.parametrize(
    ("path", "given"),
    [
        *((path, ()) for path in VALUE_FILES),
        (SMALL, ("config.worker.drain_s=90s", "config.data.kafka.drain_timeout_s=1500ms")),
        (SMALL, ("config.server.drain_s=1m",)),
        (SMALL, ("config.data.kafka.drain_timeout_s=2m",)),
        (
            SMALL,
            tuple(
                f"config.{key}=null"
                for key in ("worker.drain_s", "server.drain_s", "data.kafka.drain_timeout_s")
            ),
        ),
    ],
    ids=str,
)
def test_a_pod_may_drain_before_it_is_killed(
    path: Path, given: tuple[str, ...], tmp_path: Path
) -> None:
    found = objects(path, settings=given)
    for pod in pods(found):
        if pod.runs_on:
            drain = drain_s(settings_of(found, pod, tmp_path), pod.role)
            stop_s = drain + run.FORCE_AFTER_S + process._CLOSE_S + worker._END_S

            assert pod.spec["terminationGracePeriodSeconds"] > stop_s, pod.name


@EACH_FILE
def test_each_member_of_a_group_has_a_name_of_its_own_that_stays(path: Path) -> None:
    found, later = objects(path), objects(path, settings=("image.tag=later", "stopSeconds=60"))
    names = [name for pod in pods(found) if pod.kind == "StatefulSet" for name in pod.names()]

    assert len(set(names)) == len(names)
    assert names == [n for pod in pods(later) if pod.kind == "StatefulSet" for n in pod.names()]
    for pod in pods(found):
        assert len(pod.name) <= 52
        named_by = variables(pod).get("ORCH_KAFKA_INSTANCE_ID")
        by_name = {"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
        assert named_by == (by_name if pod.kind == "StatefulSet" else None), pod.name


def test_without_static_membership_no_pod_has_a_name_in_its_group() -> None:
    for pod in pods(objects(EVERYTHING)):
        assert "ORCH_KAFKA_INSTANCE_ID" not in variables(pod)


def test_a_component_may_be_placed_in_another_way_than_the_others() -> None:
    found = {pod.role: pod.spec for pod in pods(objects(EVERYTHING))}

    assert found["router"]["priorityClassName"] == "highest"
    assert found["router"]["nodeSelector"] == {"disk": "ssd"}
    assert found["sink"]["priorityClassName"] == "high"
    assert found["sink"]["nodeSelector"] == {"kubernetes.io/arch": "amd64"}


def variables(pod: Pod) -> dict[str, Any]:
    """How each variable of a pod gets its value."""
    env = pod.container["env"]
    return {one["name"]: {k: v for k, v in one.items() if k != "name"} for one in env}


@EACH_FILE
def test_probes_ask_for_paths_that_exist_and_only_a_stuck_loop_restarts(path: Path) -> None:
    found = objects(path)
    for pod in pods(found):
        probes = {name: probe for name, probe in pod.container.items() if name.endswith("Probe")}
        if not pod.runs_on:
            assert probes == {}
            continue
        ports = {port["name"]: port["containerPort"] for port in pod.container["ports"]}
        configured = yaml.safe_load(config_of(found, pod))["metrics"]["port"]

        assert {probe["httpGet"]["path"] for probe in probes.values()} <= set(endpoint._PATHS)
        assert {ports[probe["httpGet"]["port"]] for probe in probes.values()} == {configured}
        assert probes["readinessProbe"]["httpGet"]["path"] == "/readyz"
        # Nothing but a loop that stands still is cured by a new process.
        for name in ("startupProbe", "livenessProbe"):
            assert probes[name]["httpGet"]["path"] == "/healthz"


def test_no_step_is_scaled_above_its_partitions(tmp_path: Path) -> None:
    found = objects(PRODUCTION)
    [serve] = [pod for pod in pods(found) if pod.role == "serve"]
    partitions = settings_of(found, serve, tmp_path).topics.partitions
    scaled = of_kind(found, "ScaledObject")

    assert len(scaled) == len(load_pipelines().step_names)
    for one in scaled:
        assert 1 <= one["spec"]["minReplicaCount"] <= one["spec"]["maxReplicaCount"] <= partitions
    too_many = template(PRODUCTION, settings=("steps.retrieve.autoscaling.maxReplicas=25",))
    assert too_many.returncode != 0
    assert "25; a worker above the 24 partitions would have no work" in too_many.stderr


def test_what_scales_a_step_is_counted_and_is_of_that_step(tmp_path: Path) -> None:
    found = objects(PRODUCTION)
    by_role = {pod.role: pod for pod in pods(found)}
    settings = settings_of(found, by_role["serve"], tmp_path)
    groups, page = consumer_groups(settings, load_pipelines()), Path("docs/metrics.md").read_text()
    for one in of_kind(found, "ScaledObject"):
        role = one["metadata"]["labels"]["app.kubernetes.io/component"]
        lag, waiting = (trigger["metadata"] for trigger in one["spec"]["triggers"])
        [group] = re.findall(r'group="([^"]*)"', lag["query"])

        assert one["spec"]["scaleTargetRef"]["name"] == by_role[role].name
        assert group in groups
        assert group.endswith(f".{role}")
        assert f'role="{role}"' in waiting["query"]
        # Otherwise workers whose slots are all in use would seem to be too many.
        assert int(lag["threshold"]) < settings.worker.slots
        for query, of in ((lag["query"], "serve"), (waiting["query"], role)):
            assert 'namespace="tasks"' in query
            [processes] = re.findall(r'process=~"([^"]*)"', query)
            for name in by_role[of].names():
                assert re.fullmatch(
                    processes, name if of == role else f"{by_role[of].name}-7d9f8-x2"
                )
            for metric in metrics_of(query):
                assert f"| `{metric}` |" in page
            labels = {label for _, label in matchers_of(query)}
            assert labels <= {"namespace", "process", "role", "group"}


@EACH_FILE
def test_no_secret_is_in_plain_text(path: Path) -> None:
    found = objects(path)

    assert of_kind(found, "Secret") == []
    for pod in pods(found):
        for name, given in variables(pod).items():
            assert name not in SECRETS or "secretKeyRef" in given["valueFrom"]
        config = yaml.safe_load(config_of(found, pod))
        for key in keys().values():
            if key.secret:
                assert at(config, key.path) is None, key.path


def at(config: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        config = (config or {}).get(name)
    return config


@EACH_FILE
def test_only_who_needs_a_secret_gets_it(path: Path) -> None:
    found = objects(path)
    with_dsn = {pod.role for pod in pods(found) if "ORCH_POSTGRES_DSN" in variables(pod)}
    with_keys = {pod.role for pod in pods(found) if "api" in volumes(pod)}

    workers = {"all"} if path == SMALL else {"sink", "dlq-index"}
    assert with_dsn == {*workers, "serve", "migrate", "migrate-post"}
    assert with_keys == {"serve"}


@EACH_FILE
def test_a_router_keeps_ended_tasks_on_a_disk(path: Path) -> None:
    for pod in pods(objects(path)):
        [*mounted] = (m["name"] for m in pod.container["volumeMounts"] if m["mountPath"] == ROOM)
        assert bool(mounted) == (pod.role in ("router", "all")), pod.role
        for name in mounted:
            [volume] = [volume for volume in pod.spec["volumes"] if volume["name"] == name]
            # Without a medium it is on the disk of the node.
            assert volume["emptyDir"] == {"sizeLimit": "8Gi"}


ROOM = "/var/tmp"
"""Where SQLite prefers to make its temporary files."""


def volumes(pod: Pod) -> set[str]:
    return {volume["name"] for volume in pod.spec["volumes"]}


def test_each_role_has_its_own_account_at_an_external_kafka() -> None:
    accounts = {}
    for pod in pods(objects(EXTERNAL_KAFKA)):
        [*secret] = (v["secret"]["secretName"] for v in pod.spec["volumes"] if v["name"] == "kafka")
        accounts[pod.role] = (variables(pod).get("ORCH_KAFKA_USERNAME"), *secret)

    assert accounts.pop("migrate") == accounts.pop("migrate-post") == (None,)
    assert accounts.pop("topics")[0] == {"value": "admin"}
    for role, (user, _) in accounts.items():
        assert user == {"value": role}
    assert len({secret for _, secret in accounts.values()}) == len(accounts)


@EACH_FILE
def test_every_selector_finds_the_pods_that_it_is_for(path: Path) -> None:
    found = objects(path)
    all_pods = list(pods(found))
    running = sorted(pod.role for pod in all_pods if pod.runs_on)
    budgets = [one["spec"]["selector"] for one in of_kind(found, "PodDisruptionBudget")]
    for one in (*of_kind(found, "StatefulSet"), *of_kind(found, "Deployment")):
        role = one["metadata"]["labels"]["app.kubernetes.io/component"]
        assert selected(one["spec"]["selector"], all_pods) == {role}
        for spread in one["spec"]["template"]["spec"].get("topologySpreadConstraints", ()):
            assert selected(spread["labelSelector"], all_pods) == {role}
    for one in of_kind(found, "PodMonitor"):
        assert selected(one["spec"]["selector"], all_pods) >= set(running)
    assert bool(budgets) == (path != SMALL)
    assert sorted(role for one in budgets for role in selected(one, all_pods)) in ([], running)


@EACH_FILE
def test_every_port_of_a_service_is_a_port_of_its_pods(path: Path) -> None:
    found = objects(path)
    running = [pod for pod in pods(found) if pod.runs_on]
    services = {one["metadata"]["name"]: one["spec"] for one in of_kind(found, "Service")}
    for spec in services.values():
        chosen = selected({"matchLabels": spec["selector"]}, running)
        assert chosen
        for pod in running:
            if pod.role in chosen:
                names = {port["name"] for port in pod.container["ports"]}
                assert names >= {port["targetPort"] for port in spec["ports"]}
    for one in of_kind(found, "StatefulSet"):
        assert services[one["spec"]["serviceName"]]["clusterIP"] == "None"
    for one in of_kind(found, "Ingress"):
        backend = one["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
        ports = {port["name"] for port in services[backend["name"]]["ports"]}
        assert backend["port"]["name"] in ports


def selected(selector: Mapping[str, Any], candidates: list[Pod]) -> set[str]:
    """The roles whose pods a selector finds."""

    def matches(labels: Mapping[str, str]) -> bool:
        return all(labels.get(k) == v for k, v in selector.get("matchLabels", {}).items()) and all(
            one["operator"] == "In" and labels.get(one["key"]) in one["values"]
            for one in selector.get("matchExpressions", ())
        )

    return {pod.role for pod in candidates if matches(pod.labels)}


@EACH_FILE
def test_each_pod_may_reach_what_it_needs_and_nothing_calls_it_but_callers(path: Path) -> None:
    found = objects(path)
    all_pods = list(pods(found))
    for pod in all_pods:
        policies = [
            one["spec"]
            for one in of_kind(found, "NetworkPolicy")
            if pod.role in selected(one["spec"]["podSelector"], all_pods)
        ]
        to = {
            port["port"]
            for spec in policies
            for rule in spec.get("egress", ())
            for port in rule["ports"]
        }
        into = {
            port["port"]
            for spec in policies
            for rule in spec.get("ingress", ())
            for port in rule["ports"]
        }
        brokers = yaml.safe_load(config_of(found, pod))["data"]["kafka"]["bootstrap"].split(",")

        assert to >= {53, *(int(broker.rsplit(":")[-1]) for broker in brokers)}
        assert (5432 in to) == ("ORCH_POSTGRES_DSN" in variables(pod))
        assert into == ({"metrics", "http", "grpc"} if pod.role == "serve" else {"metrics"})


@EACH_FILE
def test_the_configuration_of_each_pod_passes_its_check(path: Path, tmp_path: Path) -> None:
    found = objects(path)
    for pod in pods(found):
        file = tmp_path / f"{pod.role}.yaml"
        file.write_text(config_of(found, pod))
        given = {name: one["value"] for name, one in variables(pod).items() if "value" in one}
        del given["ORCH_CONFIG"]
        checked = run_command(["config", "check", str(file)], given)

        assert checked.status == 0, checked.err
        assert "all right" in checked.out


@EACH_FILE
def test_jobs_run_before_anything_else_of_the_release_exists(path: Path) -> None:
    found = objects(path)
    hooks = {
        (one["kind"], one["metadata"]["name"]): int(notes["helm.sh/hook-weight"])
        for one in found
        if "helm.sh/hook" in (notes := one["metadata"].get("annotations", {}))
    }
    jobs = [pod for pod in pods(found) if pod.kind == "Job"]
    weights = {pod.role: hooks["Job", pod.name] for pod in jobs}
    [running] = {config_of(found, pod) for pod in pods(found) if pod.runs_on}

    assert weights["topics"] < weights["migrate"]
    jobs = [pod for pod in jobs if pod.role != "migrate-post"]
    for pod in jobs:
        [config] = [v for v in pod.spec["volumes"] if v["name"] == "config"]
        assert hooks["ConfigMap", config["configMap"]["name"]] < weights[pod.role]
        assert "serviceAccountName" not in pod.spec
        assert config_of(found, pod) == running


def test_task_types_of_the_installation_reach_every_process(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    poem = Path("tasks/pipelines/chat.yaml").read_text().replace("chat", "poem")
    values.write_text(yaml.safe_dump({"pipelines": {"poem.yaml": poem}}))
    found = objects(SMALL, values)
    for pod in pods(found):
        [mount] = [m for m in pod.container["volumeMounts"] if m["name"] == "pipelines"]
        [volume] = [v for v in pod.spec["volumes"] if v["name"] == "pipelines"]
        texts = named(found, "ConfigMap", volume["configMap"]["name"])["data"]

        assert yaml.safe_load(config_of(found, pod))["pipelines"]["dir"] == mount["mountPath"]
        assert texts == {"poem.yaml": poem}


def test_prometheus_gets_the_rules_and_the_labels_that_they_select_by() -> None:
    found = objects(PRODUCTION)
    [monitor] = of_kind(found, "PodMonitor")
    [scraped] = monitor["spec"]["podMetricsEndpoints"]
    relabelled = {one["targetLabel"]: one for one in scraped["relabelings"]}
    written = yaml.safe_load(target_text("127.0.0.1:1", role="router", process="router"))
    given = [one["spec"] for one in of_kind(found, "PrometheusRule")]

    assert given == [read(RULES), read(ALERTS)]
    kept = {name for name in written[0]["labels"] if not name.startswith("__")}
    assert relabelled.keys() == kept
    assert relabelled["job"]["replacement"] == written[0]["labels"]["job"]


def test_alerts_and_dashboards_link_to_the_runbook_of_the_values() -> None:
    address = "https://wiki.example.com/runbook.md"
    found = objects(PRODUCTION, settings=(f"monitoring.runbookUrl={address}",))
    groups = [group for one in of_kind(found, "PrometheusRule") for group in one["spec"]["groups"]]
    links = {
        rule["annotations"]["runbook_url"].partition("#")[0]
        for group in groups
        for rule in group["rules"]
        if "alert" in rule
    }
    texts = named(found, "ConfigMap", "ai-orchestrator-dashboards")["data"].values()
    variables = [v for text in texts for v in json.loads(text)["templating"]["list"]]

    assert links == {address}
    assert {v["query"] for v in variables if v["name"] == "runbook"} == {address}


def test_grafana_gets_every_dashboard() -> None:
    texts = named(objects(PRODUCTION), "ConfigMap", "ai-orchestrator-dashboards")["data"]

    assert texts == {path.name: path.read_text() for path in Path("deploy/grafana").glob("*.json")}


def test_the_lag_of_a_step_is_counted_once_however_many_replicas_watch_it(tmp_path: Path) -> None:
    [scaled] = [
        one
        for one in of_kind(objects(PRODUCTION), "ScaledObject")
        if one["metadata"]["labels"]["app.kubernetes.io/component"] == "step.retrieve"
    ]
    lag, waiting = (one["metadata"]["query"] for one in scaled["spec"]["triggers"])

    def at_5m(query: str, *values: int) -> dict[str, Any]:
        samples = [{"labels": "{}", "value": value} for value in values]
        return {"expr": query, "eval_time": "5m", "exp_samples": samples}

    test = {
        "input_series": [
            {"series": f"{name}{{{labels}}}", "values": f"{value}x20"}
            for name, labels, value in WATCHED
        ],
        "promql_expr_test": [at_5m(lag, 7 + 20 + 100), at_5m(waiting, 30 + 12)],
    }
    nothing = {"input_series": [], "promql_expr_test": [at_5m(lag), at_5m(waiting)]}
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"tests": [test, nothing]}))
    program = a_program("promtool", PROMETHEUS)
    ended = subprocess.run(
        (program, "test", "rules", file), capture_output=True, text=True, check=False, timeout=60
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr


_LAG, _BUFFERED = "orchestrator_group_lag_records", "orchestrator_buffered"
_HERE, _POD = 'namespace="tasks"', "ai-orchestrator"
_OURS = f'{_HERE}, group="orchestrator.step.retrieve", role="serve"'
_SERVED = f'{_OURS}, process="{_POD}-serve-7d9-a"'
WATCHED = [
    # Two replicas of the service, one a little later than the other; two lanes.
    (_LAG, f'{_OURS}, process="{_POD}-serve-7d9-a", topic="high", partition="0"', 7),
    (_LAG, f'{_OURS}, process="{_POD}-serve-7d9-b", topic="high", partition="0"', 6),
    (_LAG, f'{_OURS}, process="{_POD}-serve-7d9-a", topic="high", partition="1"', 20),
    (_LAG, f'{_OURS}, process="{_POD}-serve-7d9-b", topic="normal", partition="0"', 100),
    # Another step, another namespace, and another release of the namespace.
    (_LAG, f'{_SERVED}, topic="high", partition="0"'.replace("retrieve", "generate"), 1000),
    (_LAG, f'{_SERVED}, topic="high", partition="0"'.replace("tasks", "trial"), 1000),
    (_LAG, f'{_OURS}, process="{_POD}-serve-serve-7d9-a", topic="high", partition="0"', 1000),
    (_BUFFERED, f'{_HERE}, role="step.retrieve", process="{_POD}-step-retrieve-0"', 30),
    (_BUFFERED, f'{_HERE}, role="step.retrieve", process="{_POD}-step-retrieve-1"', 12),
    (_BUFFERED, f'{_HERE}, role="step.generate", process="{_POD}-step-generate-0"', 1000),
    (_BUFFERED, f'{_HERE}, role="step.retrieve", process="second-step-retrieve-0"', 1000),
    (_BUFFERED, f'{_HERE}, role="step.retrieve", process="{_POD}-2-step-retrieve-0"', 1000),
    (
        _BUFFERED,
        f'namespace="trial", role="step.retrieve", process="{_POD}-step-retrieve-0"',
        1000,
    ),
]
