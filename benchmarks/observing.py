"""What it costs to be observed: a drain with nothing, with metrics, and with traces beside.

The four take turns on the same servers. Beside the ratio of the rates stands that of the CPU time
of our own processes, because it depends less on what else the machine does. The receiver of
the spans is a thread of this process that reads and forgets them.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks.drain import drain
from benchmarks.harness.deployment import running_servers
from benchmarks.harness.figures import PACKAGES
from benchmarks.harness.folder import bench_folder
from benchmarks.harness.machine import print_machine
from benchmarks.harness.names import OURS
from benchmarks.harness.run import Run
from benchmarks.harness.workload import TWO_STEPS

OFF = "nothing"
_NO_METRICS = {"ORCH_METRICS_ENABLED": "false"}
VARIANTS: Mapping[str, tuple[Mapping[str, str], str | None]] = {
    OFF: (_NO_METRICS, None),
    "metrics": ({}, None),
    "traces of 1 %": (_NO_METRICS, "0.01"),
    "traces of 100 %": (_NO_METRICS, "1"),
}
"""By name: variables, and the share of traces that is sampled; None: there is no receiver."""
_SERVERS = ("kafka", "postgres")
_MIB = 1024**2


class _Received:
    """What came in."""

    def __init__(self) -> None:
        self.size_bytes = 0


@contextmanager
def _receiver() -> Iterator[tuple[str, _Received]]:
    received = _Received()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:  # the name is given
            received.size_bytes += len(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    thread.join(5)
    server.server_close()


async def measure(tasks: int, rounds: int, folder: Path) -> Mapping[str, Sequence[Run]]:
    """Drain in each way, in turn."""
    runs: dict[str, list[Run]] = {name: [] for name in VARIANTS}
    async with running_servers(folder) as (kafka, postgres):
        for _ in range(rounds):
            for name, (variables, ratio) in VARIANTS.items():
                with _receiver() as (endpoint, received):
                    given = {**variables, **_traces(endpoint, ratio)}
                    run = await drain(OURS, TWO_STEPS, tasks, kafka, postgres, folder, given)
                runs[name].append(run)
                print(
                    f"{name:>15}: {run.rate:5.0f} tasks/s, {_cpu_ms(run):.3f} CPU ms a task, "
                    f"{received.size_bytes / _MIB:.1f} MiB of spans; {_parts(run)}",
                    flush=True,
                )
    return runs


def _traces(endpoint: str, ratio: str | None) -> dict[str, str]:
    if ratio is None:
        return {}
    return {"ORCH_TRACES_ENDPOINT": endpoint, "ORCH_TRACES_SAMPLE_RATIO": ratio}


def _cpu_ms(run: Run) -> float:
    """CPU time of our processes for a task."""
    ours = sum(seconds for name, seconds in run.cpu.items() if name not in _SERVERS)
    return ours / run.tasks * 1000


def _parts(run: Run) -> str:
    return ", ".join(
        f"{name} {seconds / run.tasks * 1000:.3f}" for name, seconds in run.cpu.items()
    )


def show(runs: Mapping[str, Sequence[Run]]) -> None:
    """Print each median as a part of the one that nobody observes."""
    rates = {name: statistics.median(run.rate for run in found) for name, found in runs.items()}
    cpu = {name: statistics.median(map(_cpu_ms, found)) for name, found in runs.items()}
    for name in runs:
        print(
            f"\n{name:>15}: {rates[name] / rates[OFF]:.3f} x the rate, "
            f"{cpu[name] / cpu[OFF]:.3f} x the CPU time",
            end="",
        )
    print()


async def main(tasks: int, rounds: int, folder: Path) -> None:
    print_machine(*PACKAGES)
    print(f"{tasks} tasks, {rounds} rounds, interleaved", flush=True)
    show(await measure(tasks, rounds, folder))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with bench_folder() as folder:
        asyncio.run(main(given.tasks, given.rounds, folder))
