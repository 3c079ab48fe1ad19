"""What every benchmark prints first and records: the command, the machine, the versions."""

import os
import platform
import sys
from importlib.metadata import version


def print_machine(*packages: str) -> None:
    """Print where and with what the figures below were measured."""
    print(f"$ {command()}")
    print(machine())
    print(", ".join(f"{name} {found}" for name, found in versions(*packages).items()))


def command() -> str:
    """How this program was called."""
    spec = sys.modules["__main__"].__spec__
    name = spec.name.removesuffix(".__main__") if spec is not None else sys.argv[0]
    return " ".join(["python -m", name, *sys.argv[1:]])


def machine() -> str:
    """The system, its CPUs and its memory."""
    return f"{platform.platform()}, {os.cpu_count()} CPUs, {_memory_gib():.0f} GiB"


def versions(*packages: str) -> dict[str, str]:
    """The version of Python and of each package."""
    return {"Python": platform.python_version()} | {name: version(name) for name in packages}


def _memory_gib() -> float:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
