"""The pipelines of this installation: the built-in ones and those in a folder of its own.

Every role, the command line and ``dev`` load them here, so that all of them know the same ones.
"""

from dataclasses import dataclass
from pathlib import Path

from schemas.errors import SettingsError
from tasks.pipeline import Pipelines
from tasks.pipeline_file import load_pipelines

FILE_MAX_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelinesSettings:
    """``ORCH_PIPELINES_<FIELD>``."""

    dir: Path | None = None
    """A folder whose ``*.yaml`` are loaded beside the built-in pipelines: new task types, and
    newer versions of any type. Give every process of a system the same files, and keep old
    versions while tasks use them. A folder that does not exist stops the start."""


def installed_pipelines(settings: PipelinesSettings) -> Pipelines:
    """Load all pipelines.

    Raises:
        PipelineFileError: a file is wrong, or two contradict each other; with file and line.
        SettingsError: the folder or a file cannot be read.
    """
    return load_pipelines(texts_in(settings.dir) if settings.dir is not None else None)


def texts_in(folder: Path) -> dict[str, str]:
    """The pipeline files of a folder by their paths, sorted.

    Raises:
        SettingsError: as :func:`installed_pipelines`.
    """
    if not folder.is_dir():
        raise SettingsError(f"ORCH_PIPELINES_DIR: {folder} is not a folder")
    return {str(path): text_of(path) for path in sorted(folder.glob("*.yaml"))}


def text_of(path: Path) -> str:
    """The text of a pipeline file.

    Raises:
        SettingsError: the file cannot be read, is larger than ``FILE_MAX_BYTES``, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(FILE_MAX_BYTES + 1)
        if len(data) > FILE_MAX_BYTES:
            raise SettingsError(f"{path} has more than {FILE_MAX_BYTES} bytes")
        return data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from error
