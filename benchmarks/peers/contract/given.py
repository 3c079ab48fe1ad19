"""What the driver gives to a peer's program, and what it wants back; standard library only.

A program ``app.py`` knows the commands ``prepare`` (schema; before the clock), ``fill`` (submit
all tasks, as a process of its own), ``work`` (one worker, until it is ended), ``wait`` (until
the engine's store has all results) and ``read`` (status and result of each id, as a fresh
client). ``read`` prints how many are right, nothing else.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

TASKS = int(os.environ["PEER_TASKS"])
INPUT, FIRST, SECOND = (os.environ[f"PEER_{name}"] for name in ("INPUT", "FIRST", "SECOND"))
"""Texts of 256, 128 and 256 bytes: of a task, after its first step, of its second."""
SETTINGS: dict[str, Any] = json.loads(os.environ["PEER_SETTINGS"])
_IDS = Path(os.environ["PEER_IDS"])
_POLL_S = 0.1
_END_S = 300.0
CHUNK = 500


def dsn(scheme: str = "postgresql") -> str:
    """The database of this run, as a URI of that scheme."""
    return os.environ["PEER_DSN"].replace("postgresql", scheme, 1)


def address(server: str) -> str:
    """``127.0.0.1:<port>`` of a server that was started for this run."""
    return os.environ[f"PEER_{server.upper()}"]


def keep_ids(ids: Sequence[Any]) -> None:
    """Write down what was submitted: one entry for each task."""
    _IDS.write_text(json.dumps(ids))


def ids() -> list[Any]:
    """What ``fill`` wrote down."""
    found: list[Any] = json.loads(_IDS.read_text())
    return found


def chunks(items: Sequence[Any]) -> list[Sequence[Any]]:
    """In parts of 500."""
    return [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]


def wait_for(count: Callable[[], int], wanted: int) -> None:
    """Ask ten times a second until there are ``wanted``; give up after 300 s."""
    until = time.monotonic() + _END_S
    while (found := count()) < wanted:
        if time.monotonic() > until:
            sys.exit(f"{found} of {wanted} after {_END_S:g} s")
        time.sleep(_POLL_S)


def run(commands: Mapping[str, Callable[[], Any]]) -> None:
    """Run the command that the arguments name."""
    answer = commands[sys.argv[1]]()
    if answer is not None:
        print(answer)
