"""Finds the error in a process's log, as one short line. Pure."""

import json
import re
import signal
from collections.abc import Mapping, Sequence
from typing import Any

EXCERPT_MAX = 200
"""Characters. A JVM's last lines would fill a screen; the log file has them."""

_TRACEBACK = "Traceback (most recent call last)"
_SEVERE = re.compile(r"\b(?:ERROR|FATAL|PANIC)\b")
_LEVELS = frozenset({"error", "critical"})


def last_error(log: str) -> str:
    """The last error in the log of a process of ours; empty when the log has no error.

    An error is a logged event of the level ``error`` or above, the line ``error CODE: ...`` with
    which a command ends, or the last line of a traceback.
    """
    lines = [line for line in log.splitlines() if line.strip()]
    for place in range(len(lines) - 1, -1, -1):
        event = logged_event(lines[place])
        if event is None:
            found = lines[place] if _ends_badly(lines, place) else None
        else:
            found = describe(event) if event.get("level") in _LEVELS else None
        if found:
            return shortened(found)
    return ""


def why_ended(returncode: int, log: str) -> str:
    """Why a process of ours ended: its last error, otherwise its signal or exit status."""
    if found := last_error(log):
        return found
    if returncode < 0:
        return f"ended by {_signal_name(-returncode)}"
    return f"exit status {returncode}, and no error in its log"


def last_severe_line(log: str) -> str:
    """The last line of a server's log that says ERROR, FATAL or PANIC, else its last line."""
    lines = [line for line in log.splitlines() if line.strip()]
    severe = [line for line in lines if _SEVERE.search(line)]
    return shortened((severe or lines or [""])[-1])


def logged_event(line: str) -> Mapping[str, Any] | None:
    """A line of a JSON log; None for any other line."""
    if not line.startswith("{"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "event" in found else None


def describe(event: Mapping[str, Any]) -> str:
    """An event in words: its name, its code and its reason, as far as it has them."""
    cause = event.get("reason") or event.get("error") or _last_line(event.get("exception"))
    parts = (event["event"], event.get("code"), cause)
    return ": ".join(str(part) for part in parts if part)


def shortened(text: str, at_most: int = EXCERPT_MAX) -> str:
    """At most ``at_most`` characters, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= at_most else line[: at_most - 1] + "…"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _ends_badly(lines: Sequence[str], place: int) -> bool:
    if lines[place].startswith("error ") or "[error" in lines[place]:
        return True
    # A traceback's last line is the error; nothing but the traceback stands before it.
    before = [line for line in lines[:place] if logged_event(line) is None]
    return not lines[place].startswith(" ") and any(_TRACEBACK in line for line in before[-100:])


def _last_line(text: object) -> str:
    lines = str(text).strip().splitlines() if text else []
    return lines[-1] if lines else ""
