"""Prometheus' and Alertmanager's own programs take the rules, the configurations and the tests.

The programs are fetched once a machine: ``make test-prometheus`` runs this module.
"""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.debian import ALERTMANAGER as ALERTMANAGER_PACKAGES
from tests.debian import PROMETHEUS as PROMETHEUS_PACKAGES
from tests.debian import a_program
from tests.monitoring.rule_files import ALERTMANAGER, ALERTS, PROMETHEUS, RULES, TESTS
from tests.monitoring.test_rules import EXPRESSIONS

pytestmark = [pytest.mark.prometheus, pytest.mark.timeout(300)]


def promtool(*arguments: object) -> str:
    return output(a_program("promtool", PROMETHEUS_PACKAGES), *arguments)


def amtool(*arguments: object) -> str:
    return output(a_program("amtool", ALERTMANAGER_PACKAGES), *arguments)


def output(program: Path, *arguments: object) -> str:
    """What a program prints; the test fails with it if its exit status is not 0."""
    ended = subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, timeout=240, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_prometheus_takes_the_rules_and_the_configuration() -> None:
    promtool("check", "rules", RULES, ALERTS)
    promtool("check", "config", PROMETHEUS / "prometheus.yaml")


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_only_then(path: Path) -> None:
    promtool("test", "rules", path)


def test_prometheus_takes_the_expressions_of_the_runbook(tmp_path: Path) -> None:
    rules = [{"record": f"line_{n}", "expr": text} for n, text in enumerate(EXPRESSIONS)]
    path = tmp_path / "runbook.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "runbook", "rules": rules}]}))

    assert f"{len(EXPRESSIONS)} rules found" in promtool("check", "rules", path)


def test_alertmanager_takes_its_configuration() -> None:
    assert "SUCCESS" in amtool("check-config", ALERTMANAGER)


@pytest.mark.parametrize(("severity", "receiver"), [("page", "pages"), ("ticket", "tickets")])
def test_an_alert_goes_to_the_receiver_of_its_severity(severity: str, receiver: str) -> None:
    routes = ("config", "routes", "test", "--config.file", ALERTMANAGER)

    assert amtool(*routes, f"severity={severity}").strip() == receiver


def test_prometheus_takes_the_configuration_of_the_page_about_operations(tmp_path: Path) -> None:
    page = Path("docs/operations.md").read_text("utf-8")
    [text] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    for rules in (RULES, ALERTS):
        (tmp_path / rules.name).symlink_to(rules.absolute())
    (tmp_path / "prometheus.yaml").write_text(text)

    promtool("check", "config", tmp_path / "prometheus.yaml")
