"""Calls whose server vanishes: run by ``test_vanishing_servers`` in a network of its own.

Its loopback interface goes down in the middle of a call: neither side hears of the other again,
not even a FIN. Prints a line for each client: its name, how its call ended and after how long,
and how a call ended when the network was back.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import socket
import struct
import tempfile
import time
from pathlib import Path

from tests.agents.services.attacks.columns import COLUMNS, Column, opened
from tests.agents.services.attacks.wire import Asked, Attacker

BOUND_S = 0.5
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def set_loopback(*, up: bool) -> None:
    """Turn the interface on or off."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        given = struct.pack("16sh14x", b"lo", 0)
        _, flags = struct.unpack("16sh14x", fcntl.ioctl(sock, _SIOCGIFFLAGS, given))
        flags = flags | _IFF_UP if up else flags & ~_IFF_UP
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags))


async def vanish(column: Column, folder: Path) -> dict[str, object]:
    """One call over a network that goes away, and one after it is back."""

    async def silent(asked: Asked) -> None:
        set_loopback(up=False)
        await asked.silence()

    attacker = Attacker(column.content, silent, column.h2)
    server = await asyncio.start_server(attacker.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with opened(column, port, None) as client:
        began_s = time.monotonic()
        ended = await client.ask("t1", BOUND_S)
        lasted_s = time.monotonic() - began_s
        set_loopback(up=True)
        attacker.ended.set()
        later = await client.ask("t2", 20.0)
        if later.again:  # over HTTP/2, on the connection that was lost
            later = await client.ask("t3", 20.0)
    server.close()
    return {
        "client": column.name,
        "code": ended.code,
        "again": ended.again,
        "lasted_s": round(lasted_s, 2),
        "later": later.answer,
    }


async def main() -> None:
    """All clients."""
    set_loopback(up=True)
    with tempfile.TemporaryDirectory() as folder:
        for column in COLUMNS:
            print(json.dumps(await vanish(column, Path(folder))), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
