"""Every panel says what it shows and leads to the runbook; its metrics exist; files are fresh."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from orchestrator.monitoring.dashboards.__main__ import write
from orchestrator.monitoring.dashboards.grafana import model, text
from orchestrator.monitoring.dashboards.panel import Dashboard, Panel, PanelKind
from orchestrator.monitoring.dashboards.table import DASHBOARDS, NOT_SHOWN
from tests.monitoring.exported import exported_metrics
from tests.monitoring.runbook import anchors

FOLDER = Path("deploy/grafana")
PANELS = [(dashboard, panel) for dashboard in DASHBOARDS for panel in dashboard.panels]
EXPRESSIONS = [query.expression for _, panel in PANELS for query in panel.queries]
_NAME = re.compile(r"\borchestrator_\w+")
_SUFFIX = re.compile(r"_(bucket|sum|count)$")
_each_panel = pytest.mark.parametrize(
    ("dashboard", "panel"), PANELS, ids=[f"{d.name}: {p.title}" for d, p in PANELS]
)
_each_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda d: d.name)


@_each_dashboard
def test_the_file_of_a_dashboard_is_fresh(dashboard: Dashboard) -> None:
    path = FOLDER / f"{dashboard.name}.json"

    assert path.read_text("utf-8") == text(dashboard), "run: make dashboards"


def test_no_file_is_left_of_a_dashboard_that_went(tmp_path: Path) -> None:
    (tmp_path / "gone.json").write_text("{}")
    write(tmp_path)

    names = {f"{dashboard.name}.json" for dashboard in DASHBOARDS}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert {path.name for path in FOLDER.glob("*.json")} == names


@_each_panel
def test_a_panel_says_what_it_shows_and_where_to_read_on(
    dashboard: Dashboard, panel: Panel
) -> None:
    assert len(panel.description) > 20
    assert panel.description.endswith(".")
    assert panel.runbook in anchors()


def test_no_two_panels_of_a_dashboard_have_one_title() -> None:
    titles = Counter((dashboard.name, panel.title) for dashboard, panel in PANELS)

    assert [title for title, count in titles.items() if count > 1] == []


@_each_dashboard
def test_numbers_come_before_lines_and_only_they_have_colours(dashboard: Dashboard) -> None:
    kinds = [panel.kind is PanelKind.NUMBER for panel in dashboard.panels]

    assert kinds == sorted(kinds, reverse=True)
    assert all(p.kind is PanelKind.NUMBER for p in dashboard.panels if p.bad_from is not None)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_of_an_expression_exists(expression: str) -> None:
    named = {_SUFFIX.sub("", name) for name in _NAME.findall(expression)}

    assert named <= exported_metrics().keys()


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_groups_and_selects_by_labels_that_its_metrics_have(expression: str) -> None:
    found = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression)
    for grouped in re.findall(r"\bby \(([^)]*)\)", expression):
        found += [label.strip() for label in grouped.split(",")]
    known = {"le", "job", "role", "process"}
    for name in _NAME.findall(expression):
        known |= exported_metrics()[_SUFFIX.sub("", name)]

    assert set(found) <= known


def test_every_metric_is_on_a_dashboard_or_left_out_for_a_reason() -> None:
    shown = {_SUFFIX.sub("", name) for text in EXPRESSIONS for name in _NAME.findall(text)}

    assert exported_metrics().keys() - shown == NOT_SHOWN.keys()
    assert all(NOT_SHOWN.values())


@_each_dashboard
def test_a_dashboard_can_be_imported_as_it_is(dashboard: Dashboard) -> None:
    found = json.loads(text(dashboard))

    assert found["uid"] == f"ai-orchestrator-{dashboard.name}"
    assert len(found["uid"]) <= 40
    sources = [panel["datasource"]["uid"] for panel in found["panels"]]
    sources += [t["datasource"]["uid"] for panel in found["panels"] for t in panel["targets"]]
    assert set(sources) == {"${datasource}"}
    used = set(re.findall(r"\$(\w+)", json.dumps([p["targets"] for p in found["panels"]])))
    variables = {variable["name"] for variable in found["templating"]["list"]}
    assert used - {"__rate_interval", "__range"} <= variables
    assert {choice.name for choice in dashboard.choices} <= used


@_each_dashboard
def test_panels_do_not_overlap_and_stay_within_the_page(dashboard: Dashboard) -> None:
    taken: Counter[tuple[int, int]] = Counter()
    for panel in model(dashboard)["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                taken[x, y] += 1

    assert max(taken.values()) == 1
