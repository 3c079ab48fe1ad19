"""What every benchmark prints first: the command, the machine, the versions."""

import os
import platform
import sys
from importlib.metadata import version


def print_machine(*packages: str) -> None:
    """Print where and with what the figures below were measured."""
    print(f"$ {' '.join(['python -m', _module(), *sys.argv[1:]])}")
    print(f"{platform.platform()}, {os.cpu_count()} CPUs, {_memory_gib():.0f} GiB")
    print(
        f"Python {platform.python_version()}, " + ", ".join(f"{p} {version(p)}" for p in packages)
    )


def _module() -> str:
    spec = sys.modules["__main__"].__spec__
    return spec.name if spec is not None else sys.argv[0]


def _memory_gib() -> float:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
