"""Whether a data folder was used before: the demonstration's tasks are created once."""

from pathlib import Path

_MARKER = "started"


def is_first_start(folder: Path) -> bool:
    """Whether no system has run on this data folder yet."""
    return not (folder / _MARKER).exists()


def note_start(folder: Path) -> None:
    """Remember that a system runs on this data folder."""
    (folder / _MARKER).touch()
