"""Writes the files of all dashboards into a folder, and removes those of no dashboard."""

import sys
from pathlib import Path

from orchestrator.monitoring.dashboards.grafana import text
from orchestrator.monitoring.dashboards.table import DASHBOARDS


def write(folder: Path) -> None:
    """Make the folder hold exactly the dashboards of the table."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {f"{dashboard.name}.json" for dashboard in DASHBOARDS}
    for path in folder.glob("*.json"):
        if path.name not in names:
            path.unlink()
    for dashboard in DASHBOARDS:
        (folder / f"{dashboard.name}.json").write_text(text(dashboard), "utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
