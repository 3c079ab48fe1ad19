"""The file ``running.json`` in the data folder of ``orchestrator dev``: written, removed, found."""

import os
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from orchestrator.running.record import RunningSystem, problem_of

FILE = "running.json"
FOLDER = ".orchestrator"

_BYTES_MAX = 1_000_000
"""Far more than a record has; a longer file does not decode."""
_PS_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class FoundSystem:
    """The result of a search."""

    system: RunningSystem | None
    """None: no system runs in the searched folders."""
    file: Path | None
    ignored: tuple[str, ...]
    """Files that were skipped, each with the reason, in a sentence."""


def write_running(folder: Path, system: RunningSystem) -> None:
    """Replace the file atomically; only this user may read it.

    A reader sees the old content or the new one.

    Raises:
        OSError: the folder cannot be written, or a folder has the name of the file.
    """
    # Made with mode 0600, which the file keeps.
    number, name = tempfile.mkstemp(prefix=f".{FILE}-", dir=folder)
    scratch = Path(name)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(system), indent=2) + b"\n")
        scratch.replace(folder / FILE)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def remove_running(folder: Path, pid: int) -> None:
    """Remove the file that this process wrote; leave the file of another process."""
    try:
        system = msgspec.json.decode((folder / FILE).read_bytes(), type=RunningSystem)
    except (OSError, msgspec.DecodeError):
        return
    if system.pid == pid:
        (folder / FILE).unlink(missing_ok=True)


def places(environment: Mapping[str, str], folder: Path, installed: Path) -> Iterator[Path]:
    """The places to search for a running system, the nearest first, each once. Pure.

    Args:
        environment: ``ORCH_EMBEDDED_DATA_DIR`` names a data folder that is searched first.
        folder: the current folder; it and all folders above it are searched.
        installed: the Python environment; a checkout holds it beside its data folder.
    """
    seen: set[Path] = set()
    given = environment.get("ORCH_EMBEDDED_DATA_DIR")
    data_folders = [
        *([folder / given] if given else []),
        *(above / FOLDER for start in (folder, installed) for above in (start, *start.parents)),
    ]
    for data_folder in data_folders:
        if data_folder not in seen:
            seen.add(data_folder)
            yield data_folder / FILE


def find_running(files: Iterable[Path]) -> FoundSystem:
    """The first of these files whose system runs. A file that cannot be used is skipped."""
    ignored: list[str] = []
    for file in files:
        try:
            system = _read(file)
        except OSError:
            continue
        except _UnusableError as error:
            ignored.append(f"{file} is ignored: {error}")
            continue
        return FoundSystem(system, file, tuple(ignored))
    return FoundSystem(None, None, tuple(ignored))


class _UnusableError(Exception):
    """The reason why a file is ignored."""


def _read(file: Path) -> RunningSystem:
    """The running system of a file.

    Raises:
        OSError: the file does not exist or cannot be opened.
        _UnusableError: the file is not one that this user's running system wrote.
    """
    # Without O_NONBLOCK a pipe of that name would be waited for.
    number = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(number, "rb") as opened:
        known = os.fstat(number)
        if not stat.S_ISREG(known.st_mode):
            raise _UnusableError("it is not a file")
        if known.st_uid != os.geteuid():
            # The file names servers that would receive passwords and tasks.
            raise _UnusableError("the file belongs to another user")
        content = opened.read(_BYTES_MAX + 1)
    try:
        system = msgspec.json.decode(content, type=RunningSystem)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _UnusableError("its content is not readable") from None
    if wrong := problem_of(system):
        raise _UnusableError(wrong)
    if process_identity(system.pid) != system.identity or not _is_ours(system.pid):
        raise _UnusableError(f"its process {system.pid} has ended")
    return system


def _is_ours(pid: int) -> bool:
    """Whether a process runs as this user, as far as the kernel reports it."""
    try:
        return Path(f"/proc/{pid}").stat().st_uid == os.geteuid()
    except OSError:
        return not Path("/proc/self").exists()


def process_identity(pid: int) -> str | None:
    """When a process was started, as the kernel reports it; None: the process does not run.

    A pid is used again after its process has ended; a pid with its start time is unique.
    """
    if Path("/proc/self/stat").exists():
        return _started_linux(pid)
    return _started_elsewhere(pid)


def _started_linux(pid: int) -> str | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The name in parentheses may hold spaces and parentheses (proc(5)).
    fields = text.rpartition(")")[2].split()
    state, started = fields[0], fields[19]
    return None if state in ("Z", "X") else started


def _started_elsewhere(pid: int) -> str | None:
    try:
        shown = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)],
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PS_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return shown.stdout.decode(errors="replace").strip() or None
