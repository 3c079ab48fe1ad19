"""A folder of pipelines that is taken again when it changes: ``orchestrator dev --pipelines DIR``.

The processes read a copy, the last good state: one that is started again while a file is broken
still starts.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from agents.services.directory import Directory
from orchestrator.configuration.load import process_settings
from orchestrator.local.dev.readiness import service_answers
from orchestrator.local.dev.system import DEV_DEFAULTS, System
from orchestrator.pipelines import texts_in
from schemas.errors import OrchestratorError
from tasks.pipeline import Pipelines
from tasks.pipeline_file import load_pipelines

_POLL_S = 0.3
_Stamps = dict[Path, tuple[int, int]]


class PipelineFolder:
    """The pipelines of a folder, and the copy that the processes read.

    Args:
        folder: the user's; ``*.yaml`` in it are pipelines.
        kept: the copy; made if it does not exist.
    """

    def __init__(self, folder: Path, kept: Path) -> None:
        self._folder = folder
        self._kept = kept
        self._seen: _Stamps = {}

    def take(self) -> Pipelines:
        """Check the files, and copy them if all of them are good.

        Raises:
            PipelineFileError: a file is wrong; the message has file and line. The copy is as
                before, which also holds for the next error.
            SettingsError: the folder or a file cannot be read, or a service has no address.
        """
        self._seen = _stamps(self._folder)
        texts = texts_in(self._folder)
        pipelines = load_pipelines(texts)
        services = process_settings(os.environ, DEV_DEFAULTS).services
        Directory(services).check(pipelines.called_services)
        self._kept.mkdir(parents=True, exist_ok=True)
        wanted = {Path(path).name: text for path, text in texts.items()}
        for name, text in wanted.items():
            (self._kept / name).write_text(text, "utf-8")
        for path in self._kept.glob("*.yaml"):
            if path.name not in wanted:
                path.unlink()
        return pipelines

    def changed(self) -> bool:
        """Whether a file has changed since it was taken or refused."""
        return _stamps(self._folder) != self._seen

    async def follow(self, system: System, say: Callable[[str], None]) -> None:
        """Give each change to the system, until it is cancelled; say each in one line."""
        while True:
            await asyncio.sleep(_POLL_S)
            if not self.changed():
                continue
            try:
                pipelines = self.take()
                await system.take_pipelines(pipelines)
                await service_answers(system.http_address)
            except OrchestratorError as error:
                say(
                    f"pipelines not taken, the last good ones go on: {' '.join(str(error).split())}"
                )
            except (OSError, TimeoutError) as error:
                say(f"pipelines not taken: {type(error).__name__}: {error}")
            else:
                names = ", ".join(sorted(path.name for path in self._seen))
                say(f"pipelines taken: {names or 'none'}")


def _stamps(folder: Path) -> _Stamps:
    found: _Stamps = {}
    for path in folder.glob("*.yaml"):
        try:
            stat = path.stat()
        except OSError:
            continue
        found[path] = (stat.st_mtime_ns, stat.st_size)
    return found
