"""Ports of the embedded servers: chosen once, then kept in a file of the data directory."""

import json
import random
import socket
from collections.abc import Mapping
from pathlib import Path

from orchestrator.local.embedded.errors import PortTakenError

_FIRST, _LAST = 20_000, 32_000
"""Below Linux' and macOS' ephemeral ranges (from 32768 and 49152). A client that reconnects
to a stopped server on an ephemeral port can get that same port for its own end: the client is
then connected to itself, and the server cannot come back."""


def choose_ports(
    path: Path, wanted: Mapping[str, int], usual: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Choose a port for each name and store the choice in ``path``.

    Args:
        path: a JSON file; created if missing, replaced if broken.
        wanted: name to port. 0: the usual port if it is free, otherwise the stored one,
            otherwise any free one.
        usual: name to the port that its clients try first; a name may be missing.

    Returns:
        Name to port; the ports differ and are free at this moment.

    Raises:
        PortTakenError: a port other than 0 is taken; nothing was written.
    """
    remembered, usual = _load(path), usual or {}
    chosen: dict[str, int] = {}
    for name, port in sorted(wanted.items(), key=lambda item: item[1] == 0):
        if port != 0:
            _require_free(name, port)
            chosen[name] = port
            continue
        taken = set(chosen.values())
        tried = (usual.get(name, 0), remembered.get(name, 0))
        usable = (port for port in tried if port not in taken and is_free(port))
        chosen[name] = next(usable, None) or _free_port(taken)
    if chosen != remembered:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(chosen) + "\n")
    return chosen


def free_ports(count: int) -> list[int]:
    """Different ports that are free at this moment, outside of what the system gives to clients.

    Raises:
        PortTakenError: there are not so many.
    """
    found: set[int] = set()
    for _ in range(count):
        found.add(_free_port(found))
    return sorted(found)


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:``port`` now. False for port 0."""
    if port == 0:
        return False
    with socket.socket() as probe:
        # Like servers: connections of a former server in TIME_WAIT do not matter.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port(taken: set[int]) -> int:
    for port in random.SystemRandom().sample(range(_FIRST, _LAST), 200):
        if port not in taken and is_free(port):
            return port
    raise PortTakenError(f"no free port between {_FIRST} and {_LAST} on 127.0.0.1")


def _require_free(name: str, port: int) -> None:
    if not is_free(port):
        raise PortTakenError(
            f"port {port} on 127.0.0.1, asked for {name}, is taken (or needs privileges):"
            " stop what listens there, or ask for another port (0 finds a free one)"
        )


def _load(path: Path) -> dict[str, int]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {
        str(name): port
        for name, port in content.items()
        if isinstance(port, int) and 0 < port <= 65_535
    }
