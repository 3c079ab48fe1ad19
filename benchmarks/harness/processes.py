"""CPU time and memory of processes, read from ``/proc`` (Linux)."""

import os
from collections.abc import Iterable
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20


def cpu_s(pid: int) -> float:
    """CPU seconds of a process, of the children that it has reaped, and of those that live."""
    own = _stat(pid)
    if own is None:
        return 0.0
    # Fields 14 to 17 of proc(5): utime, stime, cutime, cstime.
    return sum(map(int, own[11:15])) / _TICKS + sum(cpu_s(child) for child in _children(pid))


def rss_mib(pid: int) -> float:
    """Resident memory of a process alone."""
    stat = _stat(pid)
    return 0.0 if stat is None else int(stat[21]) * _PAGE_MIB


def largest_mib(pid: int) -> float:
    """Resident memory of the largest among a process and all below it."""
    return max(rss_mib(pid), *map(largest_mib, _children(pid)), 0.0)


def _children(pid: int) -> Iterable[int]:
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            yield from map(int, task.read_text().split())
        except OSError:
            continue


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name in brackets may hold spaces.
    return text.rpartition(")")[2].split()
