"""The file by which other terminals find the system that ``orchestrator dev`` runs."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orchestrator.running.file import (
    FILE,
    find_running,
    places,
    process_identity,
    remove_running,
    write_running,
)
from orchestrator.running.record import RunningSystem

ABSENT = Path("/nowhere")


def a_system(pid: int | None = None, identity: str | None = None) -> RunningSystem:
    pid = os.getpid() if pid is None else pid
    return RunningSystem(
        pid=pid,
        identity=identity or process_identity(pid) or "",
        started_at="2026-05-01T18:02:00+02:00",
        folder="/x",
        http="http://127.0.0.1:8000",
        variables={"ORCH_POSTGRES_DSN": "postgresql://a:secret-word@h/x"},
    )


@contextmanager
def a_process() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid


def test_the_file_is_for_its_user_alone_and_is_written_at_once(tmp_path: Path) -> None:
    write_running(tmp_path, a_system())
    write_running(tmp_path, a_system())

    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_file_that_cannot_be_written_whole_leaves_the_former_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_running(tmp_path, a_system())
    before = (tmp_path / FILE).read_bytes()

    def fails(_content: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(msgspec.json, "encode", fails)
    with pytest.raises(OSError, match="No space"):
        write_running(tmp_path, a_system(pid=1))

    assert (tmp_path / FILE).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_running_system_is_found_from_a_folder_below_it(tmp_path: Path) -> None:
    folder, below = tmp_path / ".orchestrator", tmp_path / "a" / "b"
    folder.mkdir()
    below.mkdir(parents=True)
    write_running(folder, a_system())
    found = find_running(places({}, below, ABSENT))

    assert found.system == a_system()
    assert (found.file, found.ignored) == (folder / FILE, ())


def test_a_running_system_beside_the_installation_is_found_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / ".orchestrator").mkdir()
    write_running(tmp_path / ".orchestrator", a_system())

    assert find_running(places({}, ABSENT, tmp_path / ".venv")).system == a_system()


def test_the_data_folder_of_the_environment_is_looked_at_first() -> None:
    environment = {"ORCH_EMBEDDED_DATA_DIR": "data"}

    assert next(places(environment, Path("/a/b"), ABSENT)) == Path("/a/b/data", FILE)
    assert list(places({}, Path("/a"), Path("/a/.venv"))) == [
        Path("/a/.orchestrator", FILE),
        Path("/.orchestrator", FILE),
        Path("/a/.venv/.orchestrator", FILE),
    ]


def test_a_file_whose_process_has_ended_is_ignored_and_said(tmp_path: Path) -> None:
    with a_process() as pid:
        system = a_system(pid)
        write_running(tmp_path, system)
        assert find_running([tmp_path / FILE]).system == system
    found = find_running([tmp_path / FILE])

    assert found.system is None
    assert found.ignored == (f"{tmp_path / FILE} is ignored: its process {pid} has ended",)


def test_a_later_process_with_the_same_pid_is_another_one(tmp_path: Path) -> None:
    with a_process() as pid:
        write_running(tmp_path, a_system(pid, identity="of another process"))

        assert find_running([tmp_path / FILE]).system is None


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"pid": "1"}'])
def test_a_file_that_cannot_be_read_is_ignored_and_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    found = find_running([tmp_path / FILE])

    assert found.system is None
    assert "is ignored: its content is not readable" in found.ignored[0]


def test_a_file_of_another_user_is_ignored_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_running(tmp_path, a_system())
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    found = find_running([tmp_path / FILE])

    assert found.system is None
    assert "belongs to another user" in found.ignored[0]


def test_a_stale_file_does_not_hide_a_running_system_further_up(tmp_path: Path) -> None:
    near, far = tmp_path / "near", tmp_path / "far"
    near.mkdir()
    far.mkdir()
    write_running(near, a_system(identity="ended"))
    write_running(far, a_system())
    found = find_running([near / FILE, far / FILE])

    assert found.file == far / FILE
    assert len(found.ignored) == 1


def test_a_removed_file_is_not_found_and_removing_it_again_is_harmless(tmp_path: Path) -> None:
    write_running(tmp_path, a_system())
    remove_running(tmp_path, os.getpid())
    remove_running(tmp_path, os.getpid())

    assert find_running([tmp_path / FILE]) == find_running([])


def test_the_file_of_a_later_process_is_not_removed(tmp_path: Path) -> None:
    write_running(tmp_path, a_system(pid=1, identity="1"))
    remove_running(tmp_path, os.getpid())

    assert (tmp_path / FILE).exists()


@pytest.mark.parametrize(
    "change",
    [
        {"started_at": "yesterday"},
        {"folder": ""},
        {"folder": "/x\x1b[31m"},
        {"http": "http://[::1"},
        {"http": "ftp://127.0.0.1:1"},
        {"variables": {"X=1; touch pwned; export Y": "1"}},
        {"variables": {"ORCH_LOG_LEVEL": "a\nb"}},
        {"pid": 1, "identity": process_identity(1)},
    ],
)
def test_a_file_that_no_dev_of_this_user_wrote_is_ignored(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    if change.get("pid") == 1 and os.geteuid() == 0:
        change = {"pid": 2**30}  # process 1 is root's, too
    write_running(tmp_path, msgspec.structs.replace(a_system(), **change))

    found = find_running([tmp_path / FILE])

    assert found.system is None
    assert "is ignored" in found.ignored[0]


def test_a_pipe_of_that_name_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / FILE)

    assert "it is not a file" in find_running([tmp_path / FILE]).ignored[0]


def test_a_file_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    with (tmp_path / FILE).open("wb") as file:
        file.truncate(3 * 1024**3)

    assert "its content is not readable" in find_running([tmp_path / FILE]).ignored[0]


def test_a_file_that_is_too_deep_is_ignored(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"deep":' + "[" * 100_000 + "]" * 100_000 + "}")

    assert "its content is not readable" in find_running([tmp_path / FILE]).ignored[0]
