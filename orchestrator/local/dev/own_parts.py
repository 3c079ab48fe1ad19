"""What a user develops beside the system of ``orchestrator dev``: files of steps, and pipelines."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.local.dev.pipeline_folder import PipelineFolder
from orchestrator.local.dev.step_files import StepFiles
from orchestrator.local.dev.system import System
from orchestrator.settings import Settings
from schemas.errors import SettingsError

COPIED = "pipelines"
"""The folder beside the logs in which the processes find the last good pipelines."""


@dataclass(frozen=True, slots=True)
class OwnParts:
    """The files of steps and the folder of pipelines of one run of ``dev``."""

    steps: StepFiles
    pipelines: PipelineFolder | None

    @classmethod
    def taken(cls, settings: Settings, files: Sequence[Path], folder: Path | None) -> OwnParts:
        """Check them, and set the variables by which the processes find them.

        Raises:
            PipelineFileError: a pipeline is wrong: there is no earlier one to go on with.
            SettingsError: a file or the folder does not exist, or a service has no address.
        """
        steps = StepFiles(files)
        if files:
            known = filter(None, [settings.services.extra, *steps.addresses()])
            os.environ["ORCH_SERVICES_EXTRA"] = ",".join(known)
        if folder is None:
            return cls(steps, None)
        if not folder.is_dir():
            raise SettingsError(f"--pipelines: {folder} is not a folder")
        kept = settings.embedded.data_dir.absolute() / COPIED
        pipelines = PipelineFolder(folder.absolute(), kept)
        pipelines.take()
        os.environ["ORCH_PIPELINES_DIR"] = str(kept)
        return cls(steps, pipelines)

    @asynccontextmanager
    async def followed(self, system: System, say: Callable[[str], None]) -> AsyncIterator[None]:
        """Take changes while the context is entered, and say each in one line."""
        following = [asyncio.create_task(self.steps.follow(system.logs, say))]
        if self.pipelines is not None:
            following.append(asyncio.create_task(self.pipelines.follow(system, say)))
        try:
            yield
        finally:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)
