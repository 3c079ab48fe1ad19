"""Callers of the service, in a process of their own: what else is measured must not hold them up.

They use our client, create tasks at a steady rate, and wait for the end of each. A line of JSON is
written for each: when it ended on the monotonic clock, which all processes of a machine share, how
long it took, and its status or the code of an error. SIGTERM ends them when all have ended.

    python -m benchmarks.harness.callers OUT RATE URL...
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TextIO

from ai_orchestrator import AsyncClient, OrchestratorError

WAIT_S = 60.0


@dataclass
class Seen:
    """What callers saw."""

    ended_at_s: list[float] = field(default_factory=list)
    """When tasks ended, on the monotonic clock."""
    took_s: list[float] = field(default_factory=list)
    """From a creation to its task's end."""
    ends: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    """By code; a wait that was over before its task had ended is ``no end``."""

    def longest_gap_s(self, since_s: float, until_s: float) -> float:
        """The longest time between two ends, both between these times."""
        times = sorted(at for at in self.ended_at_s if since_s <= at <= until_s)
        return max((later - earlier for earlier, later in pairwise(times)), default=0.0)


def seen_in(out: Path) -> Seen:
    """What the callers have written until now."""
    seen = Seen()
    for line in out.read_text("utf-8").splitlines():
        said = json.loads(line)
        if said["error"] is not None:
            seen.errors[said["error"]] += 1
            continue
        seen.ended_at_s.append(said["at_s"])
        seen.took_s.append(said["took_s"])
        seen.ends[said["status"]] += 1
    return seen


async def one_task(client: AsyncClient, out: TextIO) -> None:
    began_s, status, code = time.monotonic(), None, None
    try:
        ended = await client.run("rag", {"query": "What is a lane?"}, wait_s=WAIT_S)
        status = ended.status
    except OrchestratorError as error:
        code = error.code
    except TimeoutError:
        code = "no end"
    at_s = time.monotonic()
    said = {"at_s": at_s, "took_s": at_s - began_s, "status": status, "error": code}
    print(json.dumps(said), file=out, flush=True)


async def main(out: Path, rate: float, urls: Sequence[str]) -> None:
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    with out.open("a", encoding="utf-8") as opened:
        async with AsyncClient(*urls) as client, asyncio.TaskGroup() as group:
            while not over.is_set():
                group.create_task(one_task(client, opened))
                await asyncio.sleep(1 / rate)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
