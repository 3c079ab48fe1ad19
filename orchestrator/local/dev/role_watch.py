"""Follows the logs of ``dev``'s processes, and reports events that need an operator."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.local.dev.log_excerpt import describe, logged_event, shortened
from orchestrator.local.embedded.process import Process

Report = Callable[[str, str, Path], None]
"""Called with the name of a process, the logged message, and its log file."""

_POLL_S = 1.0
_READ_MAX_BYTES = 1024 * 1024
_AGAIN_S = 60.0
"""Seconds. All roles may wait for one cause, such as a topic that was made again."""
_SHOWN_MAX = 400
"""Characters: the end of a reason names what an operator has to do."""
_LEVELS = frozenset({"error", "critical"})


@dataclass(slots=True)
class LogWatch:
    """Reports errors, and waits of a role with their cause; each cause once a minute.

    Made before the processes start: existing log lines are from earlier runs.
    """

    folder: Path
    report: Report
    _positions: dict[Path, int] = field(default_factory=dict)
    _said_s: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._positions |= {path: _size(path) for path in self.folder.glob("*.log")}

    async def run(self, children: Mapping[str, Process]) -> None:
        """Report until it is cancelled.

        Args:
            children: the processes by name; looked at anew each time.
        """
        while True:
            await asyncio.sleep(_POLL_S)
            for child in list(children.values()):
                self.look(child)

    def look(self, child: Process) -> None:
        """Report what a process has logged since the last look."""
        for line in self._new_lines(child.log_path):
            event = logged_event(line)
            if event is None or not _matters(event):
                continue
            cause = f"{event['event']} {event.get('code', '')}"
            now_s = time.monotonic()
            if now_s - self._said_s.get(cause, -_AGAIN_S) >= _AGAIN_S:
                self._said_s[cause] = now_s
                self.report(child.name, shortened(describe(event), _SHOWN_MAX), child.log_path)

    def _new_lines(self, path: Path) -> list[str]:
        position, size = self._positions.get(path, 0), _size(path)
        if size < position:  # the log was moved aside at a start
            position = 0
        if size == position:
            return []
        with path.open("rb") as log:
            log.seek(position)
            read = log.read(_READ_MAX_BYTES)
        # A line that is still being written is read with the next look.
        end = read.rfind(b"\n") + 1 or (len(read) if len(read) == _READ_MAX_BYTES else 0)
        self._positions[path] = position + end
        return read[:end].decode(errors="replace").splitlines()


def _matters(event: Mapping[str, object]) -> bool:
    if "logger" in event:  # of a library, which complains of what it then tries again
        return False
    return event.get("level") in _LEVELS or event["event"] == "waiting"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
