"""docs/metrics.md is fresh and has every metric that the code declares, once."""

import re
from pathlib import Path

from orchestrator.monitoring.page import FILE, rows, text

DECLARED = re.compile(r'"(orchestrator_[a-z0-9_]+)",?\n?\s*"')
PACKAGES = ("streams", "agents", "sinks", "orchestrator")


def test_the_page_is_what_the_metrics_say_today() -> None:
    assert text() == Path(FILE).read_text("utf-8"), "stale: run `make configuration`"


def test_every_metric_of_the_code_has_one_row() -> None:
    shown = re.findall(r"^\| `(orchestrator_\w+)`", text(), re.MULTILINE)
    declared = {
        name
        for package in PACKAGES
        for path in Path(package).rglob("*.py")
        # Panels name samples, such as the buckets of a histogram.
        if "dashboards" not in path.parts
        for name in DECLARED.findall(path.read_text("utf-8"))
    }

    assert sorted(shown) == sorted(rows())
    assert declared - set(rows()) == set()


def test_names_follow_the_conventions_of_prometheus() -> None:
    for row in rows().values():
        assert re.fullmatch(r"orchestrator_[a-z_]+", row.name)
        assert row.name.endswith("_total") == (row.kind == "counter"), row.name
        assert re.fullmatch(r"[A-Z0-9].+\.", row.meaning), row.name
        assert not {"task_id", "conversation_id", "command_id"} & set(row.labels)
