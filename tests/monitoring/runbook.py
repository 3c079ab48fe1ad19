"""The entries of the runbook, by the anchors that lead to them."""

import re
from functools import cache
from pathlib import Path

RUNBOOK = Path("docs/runbook.md")


@cache
def anchors() -> frozenset[str]:
    """The anchor of each heading, as GitHub and most renderers of Markdown make it."""
    headings = re.findall(r"^#{2,} (.+)$", RUNBOOK.read_text("utf-8"), re.MULTILINE)
    return frozenset(anchor(heading) for heading in headings)


def anchor(heading: str) -> str:
    """Lower case, without punctuation, with hyphens for spaces."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
