"""The line that says on which system a command works."""

from pathlib import Path

import pytest

from orchestrator.cli.environment import shown_folder


def test_a_folder_below_the_current_one_is_shown_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert shown_folder(str(tmp_path / "x" / ".orchestrator")) == "x/.orchestrator"


@pytest.mark.parametrize("current", ["/", "/tmp"])
def test_another_folder_is_shown_as_an_absolute_path(
    current: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(current)

    assert shown_folder("/data/.orchestrator") == "/data/.orchestrator"
