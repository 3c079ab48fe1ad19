"""Changes the file of keys: one change at a time, each whole or not at all."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from orchestrator.api.access.key_file import KeyLine, parse_keys, written_lines
from schemas.errors import OrchestratorError, SettingsError
from streams.regular_file import read_settings_file

_LOCK_S = 5.0
_MODE = 0o600


class KeyUnknownError(OrchestratorError):
    """The file has no key with this id. Nothing was changed."""

    code = "KEY_UNKNOWN"


def read_key_file(path: Path) -> list[KeyLine]:
    """The keys of a file, in its order.

    Raises:
        SettingsError: the file cannot be read, or a line is wrong.
    """
    return [line for _, line in written_lines(_checked(path, read_settings_file(path)))]


def add_key(path: Path, line: KeyLine) -> None:
    """Append a key; the file is made if it does not exist.

    Raises:
        SettingsError: the file is wrong, has such a key, cannot be written, or is being changed by
            another program. Nothing was changed.
    """

    def change(contents: bytes) -> bytes:
        if contents and not contents.endswith(b"\n"):
            contents += b"\n"
        return contents + msgspec.json.encode(line) + b"\n"

    _change(path, change, missing=b"")


def revoke_key(path: Path, key_id: str, at: datetime) -> bool:
    """Mark a key as revoked; False if it was revoked before.

    Raises:
        KeyUnknownError: no key has this id.
        SettingsError: as :func:`add_key`.
    """
    done = False

    def change(contents: bytes) -> bytes:
        nonlocal done
        rows = contents.split(b"\n")
        for number, line in written_lines(contents):
            if line.id == key_id:
                if line.revoked_at is UNSET:
                    rows[number] = msgspec.json.encode(replace(line, revoked_at=at))
                    done = True
                return b"\n".join(rows)
        raise KeyUnknownError(f"{path} has no key {key_id[:64]!a}")

    _change(path, change)
    return done


def _change(path: Path, change: Callable[[bytes], bytes], missing: bytes | None = None) -> None:
    path = path.resolve()
    with _locked(path):
        before = missing if missing is not None and not path.exists() else read_settings_file(path)
        after = _checked(path, change(_checked(path, before)))
        if after != before:
            _write(path, after)


def _checked(path: Path, contents: bytes) -> bytes:
    try:
        parse_keys(contents)
    except ValueError as error:
        raise SettingsError(f"{path}: {error}") from None
    return contents


def _write(path: Path, contents: bytes) -> None:
    """Put the new contents in the place of the old: a reader sees the one or the other."""
    try:
        # A temporary file of this kind has mode 0600.
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".keys-", delete=False) as file:
            try:
                file.write(contents)
                file.flush()
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), _MODE)
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the right to change the file; a lock on a file beside it, which stays."""
    beside = path.with_name(f".{path.name}.lock")
    try:
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
    except OSError as error:
        raise SettingsError(f"{beside}: {error.strerror}") from error
    try:
        _wait_for(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int, path: Path) -> None:
    until = time.monotonic() + _LOCK_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise SettingsError(f"{path} is being changed by another program") from None
            time.sleep(0.02)
        else:
            return
