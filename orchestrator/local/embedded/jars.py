"""Apache Kafka's jars: fetched once for each machine with ``jgo``, verified at every start.

``kafka_jars.sha256`` lists them in the form of ``sha256sum``, with their paths in a Maven
repository; :mod:`orchestrator.local.embedded.kafka_jar_list` writes it. Only listed jars with the
listed hashes are ever run, so any mirror may provide them.

A jar is taken from the local Maven repository (``~/.m2/repository``, ``M2_REPO``) if it is
there, otherwise from Maven Central or the ``[repositories]`` of jgo's configuration file
(``~/.config/jgo.conf``; the name ``central`` there replaces Maven Central). Needs no ``mvn``.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import structlog

from orchestrator.local.embedded.errors import KafkaJarsRefusedError, KafkaJarsUnavailableError
from orchestrator.local.embedded.progress import Progress, say_nothing

KAFKA_VERSION = "4.3.1"
JAR_LIST = Path(__file__).with_name("kafka_jars.sha256")

_FETCH_TIMEOUT_S = 600.0
"""45 MB at 100 kB/s, with a margin. Also the longest wait for another process that fetches."""

_REQUEST_TIMEOUT_S = 30
"""Limit of one connect and of one read."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of the list."""

    path: PurePosixPath
    """Path in a Maven repository: ``group/as/folders/artifact/version/artifact-version.jar``."""

    sha256: str
    """In lower-case hexadecimal."""

    @property
    def name(self) -> str:
        """The file's name; unique in the list."""
        return self.path.name


def read_jar_list(path: Path = JAR_LIST) -> tuple[Jar, ...]:
    """The listed jars, in the order of the class path."""
    lines = (line.split() for line in path.read_text().splitlines() if line)
    return tuple(Jar(PurePosixPath(name), digest) for digest, name in lines)


def fetch_kafka_jars(
    cache_path: Path, *, jars: tuple[Jar, ...] | None = None, progress: Progress = say_nothing
) -> Path:
    """The directory with exactly the listed jars. Blocks: run it in a thread.

    The first call on a machine fetches 45 MB; later ones only hash the files (0.1 s).
    Safe if several processes call it at once: one fetches, the others wait for it. A
    call that is interrupted leaves nothing that a later call could mistake for complete.

    Args:
        cache_path: the directory of all our caches; created if missing.
        jars: replaces the committed list.
        progress: called before the jars are fetched, and after each quarter of them.

    Raises:
        KafkaJarsUnavailableError: no network, no space, or no ``jgo``. Nothing was kept.
        KafkaJarsRefusedError: the bytes are not the listed ones.
    """
    jars = read_jar_list() if jars is None else jars
    # The list's hash is in the name: jars of different lists never mix.
    listed = "".join(f"{jar.sha256} {jar.path}\n" for jar in jars)
    digest = hashlib.sha256(listed.encode()).hexdigest()[:8]
    target = cache_path / f"kafka-{KAFKA_VERSION}-{digest}"
    try:
        if not target.is_dir():
            cache_path.mkdir(parents=True, exist_ok=True)
            with _locked(target.with_name(f"{target.name}.lock")):
                if not target.is_dir():
                    _fetch_into(target, jars, progress)
        for jar in jars:
            _verify(target / jar.name, jar)
    except OSError as error:  # requests' errors are OSErrors, too
        raise _unavailable(cache_path, error) from error
    return target


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    deadline = time.monotonic() + _FETCH_TIMEOUT_S
    with path.open("wb") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"another process holds {path}") from None
                time.sleep(0.1)
        yield


def _fetch_into(target: Path, jars: tuple[Jar, ...], progress: Progress) -> None:
    _log.info("kafka_jars_fetching", version=KAFKA_VERSION, jars=len(jars))
    progress(f"Fetching Kafka {KAFKA_VERSION}, once on this machine ({len(jars)} jars, 45 MB)")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=".kafka-", dir=target.parent) as scratch:
        complete = Path(scratch, "jars")
        complete.mkdir()
        source = _Repositories(Path(scratch, "repository"))
        for number, jar in enumerate(jars, 1):
            if time.monotonic() - started > _FETCH_TIMEOUT_S:
                raise TimeoutError(f"not all jars came within {_FETCH_TIMEOUT_S:.0f} s")
            source.copy(jar, complete / jar.name)
            if number % max(1, len(jars) // 4) == 0:
                progress(f"Fetched {number} of {len(jars)} jars")
        # The name appears only when all jars are complete.
        complete.rename(target)
    _log.info("kafka_jars_fetched", seconds=round(time.monotonic() - started, 1))


class _Repositories:
    """The sources of jars: this user's local Maven repository, then remote ones through jgo."""

    def __init__(self, scratch: Path) -> None:
        try:
            from jgo.config import GlobalSettings
            from jgo.constants import MAVEN_CENTRAL_URL
            from jgo.maven import MavenContext
        except ImportError as error:
            raise KafkaJarsUnavailableError(
                f"Kafka's jars are fetched by the package jgo, which is missing ({error}):"
                " install the extra ai-orchestrator[dev], or name a running Kafka"
            ) from error
        settings = GlobalSettings.load()
        self._local = Path(settings.repo_cache)
        # Downloads go to a directory of our own, not to the user's repository: there an
        # interrupted one would stay as a torn file that jgo would use as the jar.
        self._remote: Any = MavenContext(
            repo_cache=scratch,
            remote_repos={"central": MAVEN_CENTRAL_URL, **settings.repositories},
            timeout=_REQUEST_TIMEOUT_S,
        )

    def copy(self, jar: Jar, target: Path) -> None:
        local = self._local / jar.path
        if os.access(local, os.R_OK) and _sha256(local) == jar.sha256:
            shutil.copyfile(local, target)
            return
        *group, artifact, version, _name = jar.path.parts
        component = self._remote.project(".".join(group), artifact).at_version(version)
        try:
            fetched: Path = component.artifact().resolve()
        except RuntimeError as error:  # from jgo: no repository has it
            raise FileNotFoundError(str(error)) from error
        _verify(fetched, jar)
        fetched.rename(target)


def _verify(path: Path, jar: Jar) -> None:
    actual = _sha256(path)
    if actual != jar.sha256:
        raise KafkaJarsRefusedError(
            f"{path} is not the listed {jar.name}: its SHA-256 is {actual}, expected"
            f" {jar.sha256}. Delete {path.parent} and start again; if it happens again, the"
            " repository (mirror) in use serves another file under this name."
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unavailable(cache_path: Path, error: OSError) -> KafkaJarsUnavailableError:
    return KafkaJarsUnavailableError(
        f"Kafka {KAFKA_VERSION}'s jars could not be put into {cache_path}: {error}. The first"
        " start needs a Maven repository: Maven Central, another one in [repositories] of"
        " ~/.config/jgo.conf, or the jars in ~/.m2/repository. Or name a running Kafka."
    )
