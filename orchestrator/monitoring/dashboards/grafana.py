"""Dashboards as Grafana reads them: its classic JSON model, which Grafana 11 and later import.

Source: https://grafana.com/docs/grafana/latest/visualizations/dashboards/build-dashboards/
view-dashboard-json-model/. Pure.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.monitoring.dashboards.panel import Choice, Dashboard, Panel, PanelKind, Query

Model = dict[str, Any]

SCHEMA_VERSION = 39
"""Of Grafana 11; later versions change it when they import."""
TAG = "ai-orchestrator"
_SOURCE: Mapping[str, str] = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS = 24
_SIZES = {PanelKind.NUMBER: (4, 4), PanelKind.LINES: (12, 8), PanelKind.BARS: (12, 8)}
"""Width in columns, and height in rows."""
RUNBOOK_URL = "docs/runbook.md"


def text(dashboard: Dashboard) -> str:
    """The file of a dashboard."""
    return json.dumps(model(dashboard), indent=2) + "\n"


def model(dashboard: Dashboard) -> Model:
    """The whole dashboard."""
    return {
        "uid": f"ai-orchestrator-{dashboard.name}",
        "title": f"AI Orchestrator: {dashboard.title}",
        "description": dashboard.description,
        "tags": [TAG],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "links": [_other_dashboards()],
        "templating": {
            "list": [
                _data_source(),
                _runbook(),
                *(_choice(choice) for choice in dashboard.choices),
            ]
        },
        "annotations": {"list": []},
        "panels": list(_panels(dashboard.panels)),
    }


def _panels(panels: Sequence[Panel]) -> Iterator[Model]:
    """Panels from left to right, in rows of one height."""
    x = y = row_height = 0
    for number, panel in enumerate(panels, start=1):
        width, height = _SIZES[panel.kind]
        if x + width > _COLUMNS or height != row_height:
            x, y, row_height = 0, y + row_height, height
        yield _panel(number, panel, {"x": x, "y": y, "w": width, "h": height})
        x += width


def _panel(number: int, panel: Panel, place: Mapping[str, int]) -> Model:
    return {
        "id": number,
        "type": panel.kind.value,
        "title": panel.title,
        "description": panel.description,
        "gridPos": dict(place),
        "datasource": dict(_SOURCE),
        "links": [
            {
                "title": "Runbook",
                "url": f"${{runbook:raw}}#{panel.runbook}",
                "targetBlank": True,
            }
        ],
        "fieldConfig": {
            "defaults": {"unit": panel.unit.value, **_colours(panel)},
            "overrides": [],
        },
        "options": _options(panel.kind),
        "targets": [_target(place, query) for place, query in enumerate(panel.queries)],
    }


def _colours(panel: Panel) -> Model:
    if panel.bad_from is None:
        return (
            {"color": {"mode": "palette-classic"}, "min": 0} if panel.kind is PanelKind.BARS else {}
        )
    below, above = ("red", "green") if panel.bad_below else ("green", "red")
    steps = [{"color": below, "value": None}, {"color": above, "value": panel.bad_from}]
    return {"color": {"mode": "thresholds"}, "thresholds": {"mode": "absolute", "steps": steps}}


def _options(kind: PanelKind) -> Model:
    last = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    if kind is PanelKind.LINES:
        return {
            "legend": {
                "displayMode": "table",
                "placement": "right",
                "calcs": ["max", "lastNotNull"],
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    if kind is PanelKind.BARS:
        return {"orientation": "horizontal", "displayMode": "basic", "reduceOptions": last}
    return {"colorMode": "background", "graphMode": "area", "reduceOptions": last}


def _target(place: int, query: Query) -> Model:
    return {
        "refId": chr(ord("A") + place),
        "datasource": dict(_SOURCE),
        "expr": query.expression,
        "legendFormat": query.legend or "__auto",
        "range": True,
    }


def _data_source() -> Model:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
        "hide": 0,
        "refresh": 1,
    }


def _runbook() -> Model:
    """The address of the runbook, which an installation may serve elsewhere."""
    return {
        "name": "runbook",
        "label": "Runbook",
        "type": "textbox",
        "query": RUNBOOK_URL,
        "current": {"text": RUNBOOK_URL, "value": RUNBOOK_URL},
        "hide": 0,
    }


def _choice(choice: Choice) -> Model:
    everything = {"text": ["All"], "value": ["$__all"]}
    return {
        "name": choice.name,
        "label": choice.name.capitalize(),
        "type": "query",
        "datasource": dict(_SOURCE),
        "query": {
            "query": f"label_values({choice.metric}, {choice.label})",
            "refId": "StandardVariableQuery",
        },
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": everything,
        "refresh": 2,
        "sort": 1,
        "hide": 0,
    }


def _other_dashboards() -> Model:
    return {
        "title": "AI Orchestrator",
        "type": "dashboards",
        "tags": [TAG],
        "asDropdown": True,
        "includeVars": False,
        "keepTime": True,
    }
