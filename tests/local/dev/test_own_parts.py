"""What is refused before `dev` starts, and what its processes read while a file is broken."""

from pathlib import Path

import pytest

from orchestrator.local.dev.pipeline_folder import PipelineFolder
from orchestrator.local.dev.step_files import StepFiles
from schemas.errors import SettingsError
from tasks.pipeline import PipelineFileError

GOOD = """
pipeline: mine
version: 1
steps:
  - name: mine
    service: {service}
    method: Retrieve
    timeout_s: 10
    input:
      query: $.input.query
output: $.steps.mine
"""


def kept(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_the_copy_has_the_last_good_files_and_no_others(tmp_path: Path) -> None:
    mine, copy = tmp_path / "mine", tmp_path / "data" / "copy"
    mine.mkdir()
    good = GOOD.format(service="retrieval")
    (mine / "one.yaml").write_text(good)
    folder = PipelineFolder(mine, copy)
    folder.take()
    (mine / "two.yaml").write_text("pipeline: [")

    assert folder.changed()
    with pytest.raises(PipelineFileError, match=r"two\.yaml:2"):
        folder.take()
    assert not folder.changed()
    assert kept(copy) == {"one.yaml": good}

    (mine / "one.yaml").unlink()
    (mine / "two.yaml").write_text(good)
    folder.take()

    assert kept(copy) == {"two.yaml": good}


def test_a_service_without_an_address_is_refused_and_named(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(GOOD.format(service="nowhere"))

    with pytest.raises(SettingsError, match="nowhere"):
        PipelineFolder(tmp_path, tmp_path / "copy").take()
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("names", [["gone.py"], ["Big.py"], ["a/one.py", "b/one.py"]])
def test_a_file_of_steps_needs_a_name_of_its_own(tmp_path: Path, names: list[str]) -> None:
    files = [tmp_path / name for name in names]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        if file.name != "gone.py":
            file.touch()

    with pytest.raises(SettingsError, match="--steps"):
        StepFiles(files)


def test_each_file_of_steps_has_an_address(tmp_path: Path) -> None:
    file = tmp_path / "my_steps.py"
    file.touch()

    [address] = StepFiles([file]).addresses()

    assert address.startswith("my_steps=grpc://127.0.0.1:")
