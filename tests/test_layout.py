"""The shape of the tree: small folders, small files, one name for one class."""

import ast
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

from tests.source_words import CLIENTS, PACKAGES

ROOTS = [*PACKAGES, CLIENTS, "tests", "benchmarks"]
MODULES_MAX = 25
LINES_MAX = 500


def sources(roots: list[str]) -> list[Path]:
    found = [path for root in roots for path in Path(root).rglob("*.py")]
    return sorted(path for path in found if "gen" not in path.parts)


def test_no_folder_has_more_modules_than_can_be_read_at_once() -> None:
    modules = Counter(path.parent for path in sources(ROOTS) if path.name != "__init__.py")

    assert {str(folder): n for folder, n in modules.items() if n > MODULES_MAX} == {}


def test_no_file_is_longer_than_500_lines() -> None:
    lines = {path: len(path.read_text("utf-8").splitlines()) for path in sources(ROOTS)}

    assert {str(path): n for path, n in lines.items() if n > LINES_MAX} == {}


@pytest.mark.parametrize("roots", [PACKAGES, (CLIENTS,)], ids=["ours", "clients"])
def test_no_two_public_classes_have_one_name(roots: tuple[str, ...]) -> None:
    classes = Counter(
        node.name
        for path in sources(list(roots))
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )

    assert [name for name, n in classes.items() if n > 1] == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = grimp.build_graph(*PACKAGES, "ai_orchestrator")
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}

    assert list(TopologicalSorter(imports).static_order())  # raises CycleError, with the circle
