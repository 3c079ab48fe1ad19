"""The output of ``dev`` on its terminal: sentences and events, at most 80 columns wide."""

import os
import textwrap
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import structlog
from rich.console import Console

from schemas.printable import printable

WIDTH = 80
_INDENT = "    "


class Terminal:
    """Prints lines unchanged: without markup and colours, wrapped only by this class."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def line(self, text: str = "") -> None:
        """Print one line, however long it is."""
        text = printable(text)
        self.console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def notice(self, text: str) -> None:
        """Print a sentence, wrapped at 80 columns."""
        for line in wrapped(text):
            self.line(line)


def wrapped(text: str) -> list[str]:
    """Lines of at most 80 columns. A word is never cut, since it may be a path to copy."""
    return textwrap.wrap(
        text, WIDTH, subsequent_indent=_INDENT, break_long_words=False, break_on_hyphens=False
    )


def shown_path(path: Path | str) -> str:
    """A path as it is typed in the current folder."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def show_events() -> None:
    """Print what this process logs as wrapped lines, without the fields of a log file."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.processors.format_exc_info,
            _rendered,
        ]
    )


def _rendered(_logger: object, _name: str, event: MutableMapping[str, Any]) -> str:
    head = f"{event.pop('timestamp')} {event.pop('level')}: {event.pop('event')}"
    fields = (
        f"{name} {shown_path(str(value)) if name == 'log' else value}"
        for name, value in event.items()
        if value not in ("", None)
    )
    return printable("\n".join(wrapped(", ".join((head, *fields)))))
