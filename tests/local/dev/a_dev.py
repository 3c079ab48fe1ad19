"""A running ``orchestrator dev``, and a second terminal beside it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

READY_S = 150.0
_POLL_S = 0.1
ANY_PORTS = {
    "ORCH_EMBEDDED_KAFKA_PORT": "0",
    "ORCH_EMBEDDED_POSTGRES_PORT": "0",
    "ORCH_API_HTTP_PORT": "0",
    "ORCH_API_GRPC_PORT": "0",
}


def without_variables() -> dict[str, str]:
    """The environment of a terminal in which nothing of ours is set, 80 columns wide."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ORCH_")}
    return {**kept, "COLUMNS": "80"}


class Dev:
    """``orchestrator dev`` in a folder; what it prints goes to a file beside that folder."""

    def __init__(self, folder: Path, process: "subprocess.Popen[bytes]", output: Path) -> None:
        self.folder = folder
        self.process = process
        self._output = output

    @property
    def shown(self) -> str:
        """What it has printed so far."""
        return self._output.read_text("utf-8")

    def until(self, condition: Callable[[], bool], *, timeout_s: float = READY_S) -> None:
        """Wait for a condition while it runs."""
        until = time.monotonic() + timeout_s
        while not condition():
            assert self.process.poll() is None, self.shown
            assert time.monotonic() < until, self.shown
            time.sleep(_POLL_S)

    def until_ready(self) -> None:
        """Wait for the last line of the summary."""
        self.until(lambda: "Ctrl-C stops everything" in self.shown)

    def stop(self) -> int:
        """Ctrl-C; its exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=90)


@contextmanager
def a_dev(
    folder: Path, *arguments: str, environment: Mapping[str, str] = ANY_PORTS
) -> Iterator[Dev]:
    """Run it until the context ends; the folder is its current one."""
    folder.mkdir(parents=True, exist_ok=True)
    output = folder.with_name(f"{folder.name}.out")
    with (
        output.open("wb") as file,
        subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "dev", *arguments],
            cwd=folder,
            env={**without_variables(), **environment},
            stdout=file,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        dev = Dev(folder, process, output)
        try:
            yield dev
        finally:
            if process.poll() is None:
                dev.stop()


def in_a_terminal(
    folder: Path, *arguments: str, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """A command in a second terminal."""
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *arguments],
        cwd=folder,
        env={**without_variables(), **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
