"""The address of a process, in a file that Prometheus watches (``file_sd_configs``)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import gethostname
from typing import NamedTuple

import msgspec

from schemas.errors import SettingsError
from streams.forced_end import before_forced_end

_PID, _HOST = "__meta_orchestrator_pid", "__meta_orchestrator_host"
"""Prometheus drops labels of this kind: a restart makes no new series."""
_PID_DIGITS = 10


class ProcessTarget(NamedTuple):
    """The address of a process, and what else its file says."""

    process: str
    address: str
    pid: int | None
    """None: it runs on another machine, or its file does not say."""


def target_text(address: str, *, role: str, process: str) -> bytes:
    """One target group, as in https://prometheus.io/docs/ under ``file_sd_config``."""
    labels = {"job": "ai-orchestrator", "role": role, "process": process}
    here = {_PID: str(os.getpid()), _HOST: gethostname()}
    return msgspec.json.encode([{"targets": [address], "labels": {**labels, **here}}])


def read_targets(folder: Path) -> Iterator[ProcessTarget]:
    """The processes and their addresses; a file that is just being replaced is left out."""
    for path in sorted(folder.glob("*.json")):
        with suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            for group in msgspec.json.decode(path.read_bytes(), type=list[_TargetGroup]):
                name, pid = group.labels.get("process", path.stem), _pid_here(group.labels)
                yield from (ProcessTarget(name, address, pid) for address in group.targets)


def _pid_here(labels: Mapping[str, str]) -> int | None:
    pid = labels.get(_PID, "")
    here = labels.get(_HOST) == gethostname() and pid.isascii() and pid.isdigit()
    return int(pid) if here and len(pid) <= _PID_DIGITS else None


class _TargetGroup(msgspec.Struct):
    targets: list[str]
    labels: dict[str, str] = {}


@contextmanager
def written_target(folder: Path, address: str, *, role: str, process: str) -> Iterator[None]:
    """Write the target inside the block; another process's later file of this name stays.

    Raises:
        SettingsError: the file cannot be written; the message says why.
    """
    path, text = folder / f"{process}.json", target_text(address, role=role, process=process)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Prometheus must not read half a file.
        part = path.with_name(f".{path.name}.{os.getpid()}")
        part.write_bytes(text)
        part.replace(path)
    except OSError as error:
        raise SettingsError(f"ORCH_METRICS_TARGETS_DIR: {path}: {error.strerror}") from error

    def remove() -> None:
        with suppress(OSError):
            if path.read_bytes() == text:
                path.unlink()

    with before_forced_end(remove):
        try:
            yield
        finally:
            remove()
