"""A schema registry and kcat, fetched once a machine into the cache of the embedded servers.

A machine that cannot fetch them fails the test with a sentence; nothing is skipped.
"""

import asyncio
import hashlib
import os
import shutil
import socket
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.local.embedded.java import bundled_java, find_java
from orchestrator.local.embedded.process import Child
from orchestrator.local.embedded.settings import EmbeddedSettings
from tests.debian import unpacked

APICURIO = "3.0.9"
APICURIO_SHA256 = "2b28181501a20cbf6efcd77f9b7153908fc01f3d3a7c32024c0bd9e1b04c8a43"
KCAT = ("kcat", "librdkafka1", "libyajl2")
START_S = 90.0


@asynccontextmanager
async def a_registry(folder: Path) -> AsyncIterator[str]:
    """A running Apicurio with an empty memory; yields the URL of its Confluent API."""
    home, port = _apicurio(), _a_free_port()
    java = find_java(os.environ, bundled=bundled_java())
    child = Child(
        "apicurio",
        [
            java.executable,
            "-Xmx256m",
            "-XX:TieredStopAtLevel=1",
            f"-Dquarkus.http.port={port}",
            "-Dquarkus.http.host=127.0.0.1",
            "-jar",
            home / f"apicurio-registry-app-{APICURIO}-runner.jar",
        ],
        env={**os.environ},
        log_path=folder / "apicurio.log",
        cwd=folder,
    )
    child.start()
    url = f"http://127.0.0.1:{port}/apis/ccompat/v7"
    try:
        async with asyncio.timeout(START_S):
            while not await asyncio.to_thread(  # noqa: ASYNC110  # another process
                _answers, f"{url}/subjects"
            ):
                await asyncio.sleep(0.2)
        yield url
    finally:
        child.kill()


def kcat_environment() -> dict[str, str]:
    """The variables with which a shell finds kcat: the machine's own, or Debian's, fetched."""
    if shutil.which("kcat"):
        return {}
    root = unpacked(KCAT)
    [libraries] = root.glob("usr/lib/*-linux-gnu")
    return {
        "PATH": f"{root / 'usr/bin'}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": str(libraries),
    }


def _apicurio() -> Path:
    """The unpacked registry."""
    home = _cache() / f"apicurio-{APICURIO}"
    if home.is_dir():
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent) as scratch:
        archive = _fetch_apicurio(Path(scratch))
        with archive.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != APICURIO_SHA256:
            pytest.fail(f"Apicurio {APICURIO} is another file than the known one: {digest}")
        with tarfile.open(archive) as packed:
            packed.extractall(Path(scratch, "unpacked"), filter="data")
        Path(scratch, "unpacked").rename(home)
    return home


def _fetch_apicurio(scratch: Path) -> Path:
    from jgo.config import GlobalSettings
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext

    context: Any = MavenContext(
        repo_cache=scratch,
        remote_repos={"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories},
        timeout=60,
    )
    component = context.project("io.apicurio", "apicurio-registry-app").at_version(APICURIO)
    try:
        return Path(component.artifact(classifier="all", packaging="tar.gz").resolve())
    except (OSError, RuntimeError) as error:
        pytest.fail(f"Apicurio {APICURIO} could not be fetched from a Maven repository: {error}")


def _cache() -> Path:
    return EmbeddedSettings().cache_path


def _a_free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
