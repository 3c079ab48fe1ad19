"""docs/delivery-guarantees.md promises nothing without a test, and names what exists."""

import re
from pathlib import Path

import pytest

DOCS = Path("docs")
PAGE = (DOCS / "delivery-guarantees.md").read_text("utf-8")
PAGES = [
    DOCS / "delivery-guarantees.md",
    DOCS / "adr" / "0008-topics-have-ids.md",
    DOCS / "adr" / "0009-batches-are-taken-apart-here.md",
]
SOURCE = "\n".join(
    path.read_text("utf-8")
    for room in ("schemas", "tasks", "streams", "sinks", "agents", "orchestrator")
    for path in Path(room).rglob("*.py")
)
TESTS = "\n".join(path.read_text("utf-8") for path in Path("tests").rglob("test_*.py"))
CODES = set(re.findall(r"^\| `([A-Z_]+)`", (DOCS / "errors.md").read_text("utf-8"), re.M))
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and line.count("|") > 5]


def test_every_test_on_the_page_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))

    assert len(named) > 80
    assert [name for name in named if f"def {name}(" not in TESTS] == []


def test_every_row_names_its_test() -> None:
    heads = ("| failure |", "| topic |", "| what was done |")
    rows = [row for row in ROWS if not row.startswith(heads)]

    assert len(rows) > 60
    assert [row for row in rows if not re.search(r"`test_\w+` \|$", row)] == []


def test_every_code_on_the_page_is_published() -> None:
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", PAGE))
    of_classes = {name for name in named if name.startswith("ORCH_")}

    assert len(named) > 20
    assert named - of_classes - CODES == set()


def test_every_event_and_metric_on_the_page_is_in_the_source() -> None:
    said = {
        name
        for row in ROWS
        for name in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", row)
        if not name.startswith("test_")
    }

    assert len(said) > 20
    assert [name for name in said if f'"{name}"' not in SOURCE] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_of_the_page_leads_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text("utf-8")):
        file = page.parent / target if target else page

        assert file.exists(), target
        assert not anchor or anchor in anchors(file), f"{target}#{anchor}"


def anchors(file: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", file.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
