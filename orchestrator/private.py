"""Files and folders that only their owner can read, whatever the umask is."""

import os
from collections.abc import Sequence
from pathlib import Path

_FILE_MODE = 0o600
_FOLDER_MODE = 0o700
_PASSABLE = 0o711
"""For an account that has to reach what belongs to it inside; nobody can list the folder."""


def write_private(path: Path, lines: Sequence[str]) -> None:
    """Write lines into a file of mode 0600; the contents and the mode of an older one are replaced.

    A device or a pipe, such as ``/dev/stdout``, keeps its mode.

    Raises:
        OSError: the file cannot be written; it may hold a part of the lines.
    """
    with open(path, "w", encoding="utf-8", opener=_opened) as file:
        if path.is_file():
            os.fchmod(file.fileno(), _FILE_MODE)
        file.writelines(line + "\n" for line in lines)


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, _FILE_MODE)


def make_private_folder(folder: Path, *, close: bool) -> None:
    """Make a folder of mode 0700 if it is missing.

    Args:
        folder: its missing parents are made, too.
        close: whether an existing folder is closed to others. Entries of another account in its
            folders stay within reach of that account (mode 0711).
    """
    is_new = not folder.exists()
    folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    ours = folder.stat().st_uid == os.geteuid()
    if ours and (is_new or close):
        folder.chmod(_PASSABLE if _holds_foreign_entries(folder) else _FOLDER_MODE)


def _holds_foreign_entries(folder: Path) -> bool:
    return any(entry.lstat().st_uid != os.geteuid() for entry in folder.glob("*/*"))
