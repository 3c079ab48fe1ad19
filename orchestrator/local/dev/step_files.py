"""Files with steps that run beside the system: ``orchestrator dev --steps FILE``."""

import asyncio
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from agents.services.access import SERVICE_NAME
from orchestrator.local.embedded.ports import free_ports
from orchestrator.local.embedded.process import Child
from schemas.errors import SettingsError

_PACKAGE = "ai_orchestrator"
_POLL_S = 0.3
_READ_MAX_BYTES = 64 * 1024


class StepFiles:
    """A process for each file; the file's name without ``.py`` is the name of its service.

    The process takes changes of its file by itself, and logs each in one line, which
    :meth:`follow` shows.

    Raises:
        SettingsError: a file does not exist, its name is not that of a service, two have one
            name, or the package that serves steps is not installed.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        names = [file.stem for file in files]
        for file in files:
            if not file.is_file():
                raise SettingsError(f"--steps: there is no file {file}")
            if not SERVICE_NAME.fullmatch(file.stem) or names.count(file.stem) > 1:
                raise SettingsError(
                    f"--steps: {file.stem!r} is not a name of a service, or comes twice; "
                    "take small letters, digits and _"
                )
        if files and importlib.util.find_spec(_PACKAGE) is None:
            raise SettingsError("--steps needs the package in clients/python: install it with pip")
        self._ports = dict(zip(files, free_ports(len(files)), strict=True))

    def addresses(self) -> list[str]:
        """The services, as entries of ``ORCH_SERVICES_EXTRA``."""
        return [f"{file.stem}=grpc://127.0.0.1:{port}" for file, port in self._ports.items()]

    def children(self, environment: Mapping[str, str], logs: Path) -> list[Child]:
        """The processes; they do not run yet."""
        return [
            Child(
                file.stem,
                [
                    *(sys.executable, "-m", _PACKAGE, str(file.absolute())),
                    *("--port", str(port), "--grpc"),
                ],
                env=environment,
                log_path=logs / f"{file.stem}.log",
            )
            for file, port in self._ports.items()
        ]

    async def follow(self, logs: Path, say: Callable[[str], None]) -> None:
        """Show what the processes say about their files, until it is cancelled."""
        ends = {file: _size(logs / f"{file.stem}.log") for file in self._ports}
        while True:
            await asyncio.sleep(_POLL_S)
            for file, end in ends.items():
                lines, ends[file] = _lines_after(logs / f"{file.stem}.log", end)
                for line in lines:
                    if line.startswith(f"{file.name}: "):
                        say(line)


def _lines_after(path: Path, position: int) -> tuple[list[str], int]:
    """The whole lines after a position, and where they end."""
    if _size(path) < position:  # the log was moved aside at a start
        position = 0
    if _size(path) == position:
        return [], position
    with path.open("rb") as log:
        log.seek(position)
        read = log.read(_READ_MAX_BYTES)
    end = read.rfind(b"\n") + 1 or (len(read) if len(read) == _READ_MAX_BYTES else 0)
    return read[:end].decode(errors="replace").splitlines(), position + end


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
