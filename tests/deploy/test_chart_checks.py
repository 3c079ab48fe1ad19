"""What Helm refuses with a sentence: settings that the chart cannot see, secrets, wrong numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.chart import CHART, EVERYTHING, PRODUCTION, SMALL
from tests.deploy.rendered import NAMESPACE, Object, of_kind, run_helm, template

pytestmark = pytest.mark.helm


def refused(folder: Path, values: Any, *, over: Path = SMALL) -> str:
    """What Helm says of values; AssertionError if it takes them."""
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    ended = template(over, file)
    assert ended.returncode != 0, ended.stdout[:2000]
    return ended.stderr


def an_env(name: str, value: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value}]


@pytest.mark.parametrize(
    "name",
    ["ORCH_WORKER_DRAIN_S", "ORCH_METRICS_PORT", "ORCH_API_HTTP_PORT", "ORCH_TOPICS_PARTITIONS"],
)
@pytest.mark.parametrize("place", ["pods", "combined", "router", "topicsJob"])
def test_a_variable_that_the_chart_computes_with_is_refused(
    name: str, place: str, tmp_path: Path
) -> None:
    said = refused(tmp_path, {place: {"env": an_env(name, "300")}})

    assert f"{place}.env sets a variable that the chart sets or computes with: use config." in said


def test_a_variable_of_one_step_is_refused_by_the_same_rule(tmp_path: Path) -> None:
    env = an_env("ORCH_WORKER_DRAIN_S", "300")

    assert "steps.retrieve.env sets" in refused(tmp_path, {"steps": {"retrieve": {"env": env}}})


@pytest.mark.parametrize(
    "config",
    [
        {"worker": {"drain_s": "${DRAIN}"}},
        {"metrics": {"port": "${PORT}"}},
        {"data": {"kafka": {"drain_timeout_s": "${DRAIN}"}}},
    ],
    ids=str,
)
def test_a_reference_where_the_chart_computes_is_refused(config: Any, tmp_path: Path) -> None:
    assert "the chart computes with it" in refused(tmp_path, {"config": config})


PASSWORD = "hunter2"


@pytest.mark.parametrize(
    ("at", "values"),
    [
        ("config.services.retrieval", {"config": {"services": {"retrieval": "grpc://u:{}@h:1"}}}),
        ("config.trace.endpoint", {"config": {"trace": {"endpoint": "http://u:{}@h:4318"}}}),
        ("pods.env[0].value", {"pods": {"env": an_env("FOO", "postgresql://u:{}@h/db")}}),
        ("pods.env[0].value", {"pods": {"env": an_env("FOO", "host=h password={}")}}),
        ("pods.env[0].value", {"pods": {"env": an_env("FOO", "authorization=Bearer {}")}}),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            {"pods": {"env": an_env("OTEL_EXPORTER_OTLP_HEADERS", "{}")}},
        ),
        ("router.env[0].value", {"router": {"env": an_env("ORCH_SERVICES_X", "http://u:{}@h")}}),
        (
            "autoscaling.prometheus.serverAddress",
            {"autoscaling": {"prometheus": {"serverAddress": "http://u:{}@prometheus:9090"}}},
        ),
        ("pods.annotations.a", {"pods": {"annotations": {"a": "redis://:{}@h"}}}),
        ("pipelines.a.yaml", {"pipelines": {"a.yaml": "service: https://u:{}@h"}}),
    ],
    ids=str,
)
def test_a_password_in_plain_text_is_refused_wherever_it_stands(
    at: str, values: Any, tmp_path: Path
) -> None:
    said = refused(tmp_path, yaml.safe_load(yaml.safe_dump(values).replace("{}", PASSWORD)))

    assert at in said
    assert PASSWORD not in said


def test_addresses_without_a_password_and_references_to_secrets_are_taken(tmp_path: Path) -> None:
    secret = {"secretKeyRef": {"name": "otel", "key": "headers"}}
    values = {
        "config": {"services": {"retrieval": "grpc://retrieval@ai:9001"}},
        "pods": {
            "env": [
                {"name": "OTEL_EXPORTER_OTLP_HEADERS", "valueFrom": secret},
                *an_env("TOKEN_FILE", "/run/secrets/token"),
                *an_env("MAX_TOKENS", "300"),
                *an_env("OTHER", "http://user:${PASSWORD}@h:1/a@b"),
            ]
        },
    }
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))

    assert template(SMALL, file).returncode == 0


@pytest.mark.parametrize(
    ("says", "setting"),
    [
        ("99999 is not a port", "config.server.http.addr=:99999"),
        ("need a port each", "config.server.http.addr=:9464"),
        ("70000 is not a port", "config.metrics.port=70000"),
        ("router: replicas is 50; one above the 24 partitions", "router.replicas=50"),
        ("sink: replicas is 50; one above the 24 partitions", "sink.replicas=50"),
    ],
)
def test_numbers_that_do_not_fit_each_other_are_refused(says: str, setting: str) -> None:
    ended = template(PRODUCTION, settings=(setting,))

    assert ended.returncode != 0
    assert says in ended.stderr


@pytest.mark.parametrize("peers", ["callers", "prometheus"])
def test_without_peers_nobody_is_let_in(peers: str, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    values: tuple[list[str] | None, ...] = ([], None)
    for value in values:
        file.write_text(yaml.safe_dump({"networkPolicies": {peers: value}}))
        for one in of_kind(rendered(SMALL, file), "NetworkPolicy"):
            for rule in one["spec"].get("ingress", []):
                assert rule["from"]


def rendered(*values: Path) -> tuple[Object, ...]:
    """The objects, rendered now: a file may have changed."""
    ended = template(*values)
    assert ended.returncode == 0, ended.stderr
    return tuple(one for one in yaml.safe_load_all(ended.stdout) if one)


NAMES = [
    "ai-orchestrator-production-eu-west-1",
    "ai-orchestrator-production-eu-west-2",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaa.b",
    "v1.2",
    "v1-2",
    "2024",
    "1e5",
    "true",
    "null",
]


def test_releases_have_names_of_their_own_that_kubernetes_takes() -> None:
    services = []
    for release in NAMES:
        for one in released(release):
            labels = one["metadata"]["labels"]
            assert labels["app.kubernetes.io/instance"] == release
            name = one["metadata"]["name"]
            assert name[0].isalpha()
            assert len(name) <= 52
            assert name == name.lower().replace(".", "-").strip("-")
            if one["kind"] == "Service":
                services.append(name)

    assert len(set(services)) == len(services) == 2 * len(NAMES)


def released(release: str, *settings: str) -> list[Object]:
    """The objects of a release, with every name as a text."""
    given = [word for one in settings for word in ("--set-string", one)]
    ended = run_helm(
        *("template", release, str(CHART), "--namespace", NAMESPACE),
        *("--values", str(EVERYTHING), "--set", "nameOverride=,fullnameOverride="),
        *("--set", "secrets.postgres.existingSecret=a", *given),
    )
    assert ended.returncode == 0, ended.stderr
    return [one for one in yaml.safe_load_all(ended.stdout) if one]


def test_names_that_yaml_takes_for_something_else_stay_texts() -> None:
    found = released(
        "tasks",
        *("fullnameOverride=true", "secrets.postgres.existingSecret=123", "image.tag=1e3"),
        *("pods.priorityClassName=0x1", "image.pullSecrets[0]=1", "secrets.kafka.existingSecret=2"),
    )

    texts = [value for one in found for value in named_in(one)]
    assert {"123", "true", "0x1", "1", "2"} <= {*texts}
    assert all(isinstance(value, str) for value in texts)


def named_in(value: Any) -> list[Any]:
    """The names of objects anywhere in an object."""
    if isinstance(value, list):
        return [found for one in value for found in named_in(one)]
    if not isinstance(value, dict):
        return []
    names = ("name", "secretName", "serviceAccountName", "priorityClassName", "serviceName")
    here = [value[name] for name in names if name in value]
    return here + [found for one in value.values() for found in named_in(one)]
