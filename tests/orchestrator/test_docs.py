"""The pages of docs/: linked, and of one mind with each other."""

import re
from importlib import resources
from pathlib import Path

import pytest

from tasks.task import Phase

PAGES = [Path("README.md"), Path("CHANGELOG.md"), *sorted(Path("docs").rglob("*.md"))]
ARCHITECTURE = Path("docs/architecture.md").read_text("utf-8")


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    text = page.read_text("utf-8")
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", text):
        file = (page.parent / target).resolve() if target else page.resolve()

        assert file.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(file.read_text("utf-8")), f"{page}: {target}#{anchor}"


def test_the_index_lists_every_page() -> None:
    index = Path("docs/README.md").read_text("utf-8")
    pages = {page.name for page in Path("docs").glob("*.md")} - {"README.md"}

    assert pages <= set(re.findall(r"\]\(([\w-]+\.md)", index))


def test_the_glossary_is_that_of_the_demonstration() -> None:
    corpus = (resources.files("orchestrator.local.demo") / "corpus" / "glossary.md").read_text(
        "utf-8"
    )
    wanted = {t.lower(): m for t, m in re.findall(r"^## (.+)\n\n(.+)$", corpus, re.MULTILINE)}
    section = ARCHITECTURE[ARCHITECTURE.index("## Glossary") : ARCHITECTURE.index("## The states")]

    assert dict(re.findall(r"^\| ([a-z ]+) \| (An? .+) \|$", section, re.MULTILINE)) == wanted


def test_every_state_of_a_task_has_its_paragraph() -> None:
    said = re.findall(r"^\*\*(\w+)\*\* \(status \w+", ARCHITECTURE, re.MULTILINE)

    assert said == [phase.value for phase in Phase]
    for state in said:
        paragraph = ARCHITECTURE.split(f"\n**{state}** ")[1].split("\n\n")[0]
        assert "After a crash" in paragraph, state


def anchors(markdown: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", markdown, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
