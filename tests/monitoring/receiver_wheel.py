"""The OTLP receiver of docs/observability.md, from its wheel: fetched once, not installed."""

import subprocess
import sys
import tempfile
from pathlib import Path

from orchestrator.local.embedded.settings import EmbeddedSettings
from tests.debian import FETCH_S


def receiver_folder(requirement: str) -> Path:
    """A folder for ``PYTHONPATH`` that holds this requirement, such as ``rotel==0.0.1a15``.

    Raises:
        subprocess.CalledProcessError: it could not be fetched; nothing was kept.
    """
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    root = EmbeddedSettings().cache_path / "wheels" / f"{requirement}-{python}"
    if root.is_dir():
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
        into = Path(scratch, "unpacked")
        options = ("--quiet", "--no-deps", "--only-binary=:all:", "--target", str(into))
        command = [sys.executable, "-m", "pip", "install", *options, requirement]
        subprocess.run(command, check=True, timeout=FETCH_S)
        try:
            into.rename(root)
        except OSError:
            # Another process may have done the same a moment ago.
            if not root.is_dir():
                raise
    return root
