"""What the README says is so."""

import re
from pathlib import Path

import pytest

from tests.names import defines

README = Path("README.md").read_text("utf-8")
PROMISES = Path("docs/promises.md").read_text("utf-8")
DEAD_LETTERS = Path("docs/dead-letters.md").read_text("utf-8")


def test_the_readme_shows_the_example_as_it_is() -> None:
    assert Path("examples/publish_task.py").read_text("utf-8").rstrip() in README


@pytest.mark.parametrize("page", [PROMISES, DEAD_LETTERS], ids=["promises", "dead letters"])
def test_every_promise_has_a_test_of_its_name(page: str) -> None:
    promised = set(re.findall(r"[|,] `(test_\w+)`", page))
    tests = "\n".join(path.read_text("utf-8") for path in Path("tests").rglob("test_*.py"))

    assert len(promised) >= 10
    assert [name for name in promised if f"def {name}(" not in tests] == []


def test_every_file_and_function_on_the_road_of_a_task_exists() -> None:
    road = README[README.index("## Follow one task") : README.index("## What is promised")]
    for path in re.findall(r"`((?:\w+/)+\w+\.\w+)`", road):
        assert Path(path).is_file(), path
    for path, name in re.findall(r"`((?:\w+/)+\w+\.py)` `([\w.]+)`", road):
        assert defines(Path(path), name), f"{path} {name}"


def test_every_link_of_the_readme_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert Path(target).exists(), target
