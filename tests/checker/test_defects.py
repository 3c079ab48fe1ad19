"""The deliberate defects do not rot: ``make defects`` can still make each of them."""

import ast

import pytest

from tests.checker.defects.patches import FOLDER, ROOT, Defect, apply, read_defects

DEFECTS = read_defects()


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_defect_can_still_be_made(defect: Defect) -> None:
    assert apply(defect, ROOT, only_check=True) == ""


def test_every_defect_has_a_scenario_and_a_violation() -> None:
    tree = ast.parse((FOLDER / "scenarios.py").read_text("utf-8"))
    scenarios = {node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef)}

    assert len(DEFECTS) == 15
    assert all(defect.scenario in scenarios and defect.codes for defect in DEFECTS)
