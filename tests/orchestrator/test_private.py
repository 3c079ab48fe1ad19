"""Files and folders of ours are for their owner only, also when the umask lets everybody in."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.local.embedded.lock import hold_data_dir
from orchestrator.private import write_private


@pytest.fixture(autouse=True)
def _open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_an_export_is_for_its_owner_only_also_in_the_place_of_an_open_file(tmp_path: Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    old.write_text("a longer text than the new one")
    old.chmod(0o666)
    for file in (new, old):
        write_private(file, ["one", "two"])

    assert [mode_of(new), mode_of(old)] == [0o600, 0o600]
    assert old.read_text() == "one\ntwo\n"


def test_an_export_into_a_device_leaves_its_mode(tmp_path: Path) -> None:
    before = mode_of(Path("/dev/null"))
    write_private(Path("/dev/null"), ["one"])

    assert mode_of(Path("/dev/null")) == before


@pytest.mark.parametrize("is_new", [True, False])
def test_the_data_folder_is_closed_to_others(tmp_path: Path, is_new: bool) -> None:
    folder = tmp_path / ".orchestrator"
    if not is_new:
        folder.mkdir()
    with hold_data_dir(folder):
        assert mode_of(folder) == 0o700


def test_a_folder_of_another_name_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    with hold_data_dir(folder):
        assert mode_of(folder) == 0o777


def test_a_new_folder_of_another_name_is_closed(tmp_path: Path) -> None:
    with hold_data_dir(tmp_path / "new"):
        assert mode_of(tmp_path / "new") == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another account")
def test_an_account_reaches_what_belongs_to_it_in_the_folder(tmp_path: Path) -> None:
    data = tmp_path / ".orchestrator" / "postgres" / "data"
    data.mkdir(parents=True)
    os.chown(data, 65534, 65534)
    with hold_data_dir(tmp_path / ".orchestrator"):
        assert mode_of(tmp_path / ".orchestrator") == 0o711
