"""What `dev` prints when everything runs."""

from pathlib import Path

from orchestrator.local.dev.summary import needed_variable

FOLDER = Path("/data/of mine")


def test_the_usual_folder_needs_no_variable_in_another_terminal() -> None:
    assert needed_variable(FOLDER, {}) == []


def test_another_folder_is_named_by_a_line_for_the_shell() -> None:
    environment = {"ORCH_EMBEDDED_DATA_DIR": "mine"}

    assert needed_variable(FOLDER, environment) == ["export ORCH_EMBEDDED_DATA_DIR='/data/of mine'"]
