"""The archive of Kafka's classes: made once, complete or not at all, and never in the way."""

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from orchestrator.local.embedded.class_archive import archive_path, make_archive, sharing_flags
from orchestrator.local.embedded.errors import KafkaNotStartedError
from orchestrator.local.embedded.java import Java, bundled_java, find_java
from orchestrator.local.embedded.kafka import EmbeddedKafka

JAVA = Java(executable=Path("/usr/bin/java"), version="17.0.15")


class Node:
    """Ends as told; counts its runs."""

    def __init__(self, *, writes: bytes | None = b"classes", fails: bool = False) -> None:
        self.runs = 0
        self._writes = writes
        self._fails = fails

    async def run(self, data_dir: Path, flags: tuple[str, ...]) -> None:
        self.runs += 1
        await asyncio.sleep(0)
        if self._fails:
            raise KafkaNotStartedError("no answer")
        [flag] = flags
        if self._writes is not None:
            path = flag.removeprefix("-XX:ArchiveClassesAtExit=")
            with open(path, "wb") as archive:  # noqa: ASYNC230, PTH123  # it is what a JVM does
                archive.write(self._writes)


async def test_an_archive_is_made_once_and_used_from_then_on(tmp_path: Path) -> None:
    archive, node = tmp_path / "kafka.jsa", Node()
    before = sharing_flags(archive)

    await make_archive(archive, node.run)
    await make_archive(archive, node.run)

    assert before == ()
    assert node.runs == 1
    assert sharing_flags(archive) == ("-Xshare:auto", f"-XX:SharedArchiveFile={archive}")
    assert archive.read_bytes() == b"classes"


async def test_a_java_that_makes_no_archive_is_asked_once_and_starts_plainly(
    tmp_path: Path,
) -> None:
    archive, node = tmp_path / "kafka.jsa", Node(writes=None)

    await make_archive(archive, node.run)
    await make_archive(archive, node.run)

    assert node.runs == 1
    assert sharing_flags(archive) == ()


async def test_a_node_that_fails_leaves_no_archive_and_no_error(tmp_path: Path) -> None:
    archive = tmp_path / "kafka.jsa"

    await make_archive(archive, Node(fails=True).run)

    assert not archive.exists()
    assert os.listdir(tmp_path) == ["kafka.lock"]  # noqa: PTH208


async def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    archive = tmp_path / "missing" / "kafka.jsa"

    await make_archive(archive, Node().run)

    assert sharing_flags(archive) == ()


async def test_of_two_at_once_one_makes_the_archive_and_the_other_does_without(
    tmp_path: Path,
) -> None:
    archive, node = tmp_path / "kafka.jsa", Node()

    await asyncio.gather(make_archive(archive, node.run), make_archive(archive, node.run))

    assert node.runs == 1


def test_another_java_other_flags_and_jars_that_were_fetched_again_have_another_archive(
    tmp_path: Path,
) -> None:
    jars = tmp_path / "kafka-4"
    jars.mkdir()
    first = archive_path(JAVA, jars, ("-Xmx1g",))
    same = archive_path(JAVA, jars, ("-Xmx1g",))
    other_flags = archive_path(JAVA, jars, ("-Xmx2g",))
    newer = archive_path(Java(executable=JAVA.executable, version="21.0.1"), jars, ("-Xmx1g",))
    os.utime(jars, ns=(1, 1))
    again = archive_path(JAVA, jars, ("-Xmx1g",))

    assert same == first
    assert len({first, other_flags, newer, again}) == 4


def test_java_starts_with_a_broken_archive_as_without_one(tmp_path: Path) -> None:
    java = find_java(os.environ, bundled=bundled_java())
    archive = tmp_path / "kafka.jsa"
    archive.write_bytes(b"not one" * 1000)

    ended = subprocess.run(
        [java.executable, *sharing_flags(archive), "-version"], capture_output=True, check=False
    )

    assert ended.returncode == 0
    assert b"version" in ended.stderr


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="there is no /proc")
def test_the_node_of_the_tests_has_its_classes_from_the_archive(
    kafka_server: EmbeddedKafka,
) -> None:
    of_the_node = Path(f"/proc/{kafka_server.pid}")
    flags = (of_the_node / "cmdline").read_bytes().decode().split("\0")
    archives = [flag for flag in flags if flag.startswith("-XX:SharedArchiveFile=")]
    if not archives:
        pytest.skip("this Java makes no archive, or it is being made")

    assert archives[0].partition("=")[2] in (of_the_node / "maps").read_text()
