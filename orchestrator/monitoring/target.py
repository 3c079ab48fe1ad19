"""The address of a process, in a file that Prometheus watches (``file_sd_configs``)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from schemas.errors import SettingsError
from streams.forced_end import before_forced_end


def target_text(address: str, *, role: str, process: str) -> bytes:
    """One target group, as in https://prometheus.io/docs/ under ``file_sd_config``. Pure."""
    labels = {"job": "ai-orchestrator", "role": role, "process": process}
    return msgspec.json.encode([{"targets": [address], "labels": labels}])


def read_targets(folder: Path) -> Iterator[tuple[str, str]]:
    """The processes and their addresses; a file that is just being replaced is left out."""
    for path in sorted(folder.glob("*.json")):
        with suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            for group in msgspec.json.decode(path.read_bytes(), type=list[_TargetGroup]):
                yield from ((group.labels.get("process", path.stem), at) for at in group.targets)


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
