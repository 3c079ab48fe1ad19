"""The page: hand-written text with the tables and plots of what was measured."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.harness.figures import FOLDER
from benchmarks.page.markdown import NOT_MEASURED
from benchmarks.page.recorded import Recorded
from benchmarks.page.sections import section

TEMPLATE = Path(__file__).parent / "template.md"
DOCS = Path("docs")
_PLACE = re.compile(r"^\{\{ ([a-z-]+)(\.svg: .*)? \}\}$", re.MULTILINE)
"""``{{ drain }}`` is a table, ``{{ cpu.svg: what it shows }}`` a plot, each on its own line."""


def render(folder: Path = FOLDER, template: Path = TEMPLATE) -> dict[str, bytes]:
    """The page and its plots, by their paths in ``docs``; a function of the two alone."""
    # To import a library for plots takes a second: only who draws waits for it.
    from benchmarks.page.plots import plots

    recorded = Recorded(folder)
    drawn = plots(recorded)

    def put(place: re.Match[str]) -> str:
        name, plot = place.groups()
        if plot is None:
            return section(name, recorded)
        if f"{name}.svg" not in drawn:
            return NOT_MEASURED
        return f"![{plot.removeprefix('.svg: ')}](benchmarks/{name}.svg)"

    page = _PLACE.sub(put, template.read_text("utf-8"))
    return {
        "benchmarks.md": page.encode(),
        **{f"benchmarks/{name}": image for name, image in drawn.items()},
    }


def write(docs: Path = DOCS) -> list[Path]:
    """Write the page and its plots; plots without figures go."""
    pages = render()
    for old in docs.glob("benchmarks/*.svg"):
        old.unlink()
    for name, content in pages.items():
        path = docs / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    return [docs / name for name in pages]
