"""A watched file: read again when it changes, and kept as it was when it goes wrong."""

import os
from pathlib import Path

import pytest

from schemas.errors import SettingsError
from streams.watched_file import WatchedFile, secret_line
from tests.logged import logged


def test_a_change_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("first\n")
    watched = WatchedFile(file, secret_line)
    assert watched.value() == "first"
    file.write_text("second\n")
    assert watched.value() == "second"


def test_a_link_to_another_file_is_a_change(tmp_path: Path) -> None:
    """So Kubernetes replaces a secret that is mounted."""
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    link = tmp_path / "secret"
    link.symlink_to("one")
    watched = WatchedFile(link, secret_line)
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").rename(link)
    assert watched.value() == "two"


@pytest.mark.parametrize("contents", [b"", b"two\nlines", b"\xff", b"a\x1b[31m", b"x" * 2_000_000])
def test_wrong_contents_keep_the_last_good_ones(tmp_path: Path, contents: bytes) -> None:
    file = tmp_path / "secret"
    file.write_text("good")
    watched = WatchedFile(file, secret_line)
    file.write_bytes(contents)
    with logged("streams.watched_file.log") as lines:
        assert watched.value() == "good"
        assert watched.value() == "good"
    assert [line["event"] for line in lines] == ["file_not_read"]
    file.write_text("better")
    assert watched.value() == "better"


def test_a_file_that_is_gone_keeps_its_last_contents(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("good")
    watched = WatchedFile(file, secret_line)
    file.unlink()
    assert watched.value() == "good"
    file.write_text("new")
    assert watched.value() == "new"


def test_a_file_that_is_wrong_at_the_start_stops_it_and_is_not_quoted(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    with pytest.raises(SettingsError, match="secret"):
        WatchedFile(file, secret_line)
    file.write_text("first\nsecond")
    with pytest.raises(SettingsError) as caught:
        WatchedFile(file, secret_line)
    assert "second" not in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_pipe_keeps_the_last_contents_and_nobody_waits_for_it(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("good")
    watched = WatchedFile(file, secret_line)
    file.unlink()
    os.mkfifo(file)
    assert watched.value() == "good"
    with pytest.raises(SettingsError, match="not a regular file"):
        WatchedFile(file, secret_line)
