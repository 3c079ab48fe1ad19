"""Programs from Debian packages, fetched once a machine and unpacked, not installed.

Nothing is started and nothing outside the cache of the embedded servers is written.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from orchestrator.local.embedded.settings import EmbeddedSettings

PROMETHEUS = ("prometheus",)
"""``prometheus`` and ``promtool``."""
ALERTMANAGER = ("prometheus-alertmanager",)
"""``prometheus-alertmanager`` and ``amtool``."""
FETCH_S = 120.0


class PackageUnavailableError(Exception):
    """A package could not be fetched: no ``apt-get``, no network, or old package lists."""


def a_program(name: str, packages: tuple[str, ...]) -> Path:
    """The machine's own program of this name, or else that of packages, which are fetched.

    Raises:
        PackageUnavailableError: the packages could not be fetched; nothing was kept.
    """
    installed = shutil.which(name)
    return Path(installed) if installed else unpacked(packages) / "usr/bin" / name


def unpacked(packages: tuple[str, ...]) -> Path:
    """The folder that holds the files of packages, as they would lie under ``/``.

    Raises:
        PackageUnavailableError: the packages could not be fetched; nothing was kept.
    """
    root = EmbeddedSettings().cache_path / "debian" / "+".join(packages)
    if not root.is_dir():
        _fetch(packages, root)
    return root


def _fetch(packages: tuple[str, ...], root: Path) -> None:
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
        try:
            _run(["apt-get", "download", *packages], scratch)
            for package in Path(scratch).glob("*.deb"):
                _run(["dpkg-deb", "-x", str(package), "unpacked"], scratch)
        except (OSError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip()
            raise PackageUnavailableError(
                f"{', '.join(packages)} could not be fetched from Debian: {error} {said}"
            ) from error
        _keep(Path(scratch, "unpacked"), root)


def _keep(folder: Path, root: Path) -> None:
    """Give a whole folder its name; another process may have done the same a moment ago."""
    try:
        folder.rename(root)
    except OSError:
        if not root.is_dir():
            raise


def _run(command: list[str], folder: str) -> None:
    environment = {**os.environ, "LC_ALL": "C"}
    subprocess.run(
        command, cwd=folder, env=environment, check=True, capture_output=True, timeout=FETCH_S
    )
