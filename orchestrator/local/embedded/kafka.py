"""A real Kafka for ``dev`` and the tests: one KRaft node in a child process."""

import asyncio
import base64
import json
import os
import shutil
import uuid
from functools import partial
from pathlib import Path

import structlog
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from orchestrator.local.embedded.class_archive import archive_path, make_archive, sharing_flags
from orchestrator.local.embedded.errors import KafkaNotStartedError
from orchestrator.local.embedded.jars import KAFKA_VERSION, fetch_kafka_jars
from orchestrator.local.embedded.java import Java, bundled_java, find_java
from orchestrator.local.embedded.kafka_config import JVM_FLAGS, server_properties
from orchestrator.local.embedded.ports import choose_ports
from orchestrator.local.embedded.process import Child
from orchestrator.local.embedded.progress import Progress, say_nothing
from orchestrator.local.embedded.settings import default_cache_path

USUAL_PORT = 9092
"""Where Kafka's clients look by default."""

_STOP_GRACE_S = 20.0
"""A clean stop takes 0.5 s; it writes out what a start would otherwise recover."""

_ARCHIVE_GRACE_S = 90.0
"""A stop that writes the archive of classes takes 3 s, many times that on a busy machine."""

_KILL_WAIT_S = 10.0
_ATTEMPT_INTERVAL_S = 0.05
_REQUEST_TIMEOUT_S = 5.0

_log = structlog.get_logger()


class EmbeddedKafka:
    """Apache Kafka on 127.0.0.1, without encryption or passwords: never for production.

    Topics are not created by use. Data, ports and log (``kafka.log``) are in ``data_dir``
    and survive stop, kill and start; only one node may run on a directory at a time. The
    process ends with ours (see :class:`~orchestrator.local.embedded.process.Child`). Not bound
    to an event loop: each method may be called in another one.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int = 0,
        usual_port: int = 0,
        start_timeout_s: float = 90.0,
        cache_path: Path | None = None,
        progress: Progress = say_nothing,
    ) -> None:
        """Describe a node; nothing runs and nothing is written yet.

        Args:
            data_dir: of this node alone; made when missing.
            port: for clients; 0 keeps the port of the last start if it is free.
            usual_port: with ``port`` 0, tried before the port of the last start; 0: not.
            start_timeout_s: from the start of the process to its first answer.
            cache_path: where the jars are kept; the user's cache by default.
            progress: called before what a first start on a machine waits for.
        """
        self.data_dir = data_dir.absolute()
        self._port = port
        self._usual_port = usual_port
        self._progress = progress
        self._start_timeout_s = start_timeout_s
        self._cache_path = cache_path or default_cache_path()
        self._marker = self.data_dir / "formatted.json"
        self._sharing: tuple[str, ...] = ()
        self._child: Child | None = None
        self._bootstrap: str | None = None

    @property
    def bootstrap(self) -> str:
        """``127.0.0.1:<port>`` of the last start.

        Raises:
            RuntimeError: it was never started.
        """
        if self._bootstrap is None:
            raise RuntimeError("this Kafka was never started")
        return self._bootstrap

    @property
    def pid(self) -> int | None:
        """The server's process id; None when it does not run."""
        if self._child is None or self._child.returncode is not None:
            return None
        return self._child.pid

    async def start(self) -> str:
        """Start the node and wait until it answers: about 3 s, 4 s on a new directory.

        The first start on a machine also makes the archive of classes, in about 8 s. When
        it fails or is cancelled, nothing is left running.

        Returns:
            The bootstrap address, ``127.0.0.1:<port>``.

        Raises:
            JavaNotFoundError, KafkaJarsUnavailableError, KafkaJarsRefusedError: before
                anything was started.
            PortTakenError: the port that was asked for is taken.
            KafkaNotStartedError: the server ended or did not answer in time.
            RuntimeError: it runs already, or this is not the main thread.
        """
        if self.pid is not None:
            raise RuntimeError(f"this Kafka runs already as pid {self.pid}")
        java = await asyncio.to_thread(find_java, os.environ, bundled=bundled_java())
        jars = await asyncio.to_thread(fetch_kafka_jars, self._cache_path, progress=self._progress)
        archive = archive_path(java, jars, JVM_FLAGS)
        await make_archive(archive, partial(self._run_once, java, jars), self._progress)
        self._sharing = sharing_flags(archive)
        return await self._start(java, jars)

    async def _start(self, java: Java, jars: Path) -> str:
        ports = choose_ports(
            self.data_dir / "ports.json",
            {"kafka": self._port, "controller": 0},
            {"kafka": self._usual_port},
        )
        properties = self.data_dir / "server.properties"
        properties.write_text(
            server_properties(port=ports["kafka"], controller_port=ports["controller"])
        )
        if not self._marker.exists():
            await self._format(java, jars, properties)
        await self._run(java, jars, properties, ports["kafka"])
        self._bootstrap = f"127.0.0.1:{ports['kafka']}"
        return self._bootstrap

    async def start_again(self) -> str:
        """Start it with its data on the port of the last start, after it ended.

        Raises:
            PortTakenError: somebody else took the port meanwhile; try again.
            KafkaNotStartedError: as :meth:`start`.
            RuntimeError: it was never started, or runs.
        """
        port = int(self.bootstrap.rsplit(":", 1)[1])
        asked, self._port = self._port, port
        try:
            return await self.start()
        finally:
            self._port = asked

    async def stop(self) -> None:
        """End the node cleanly; kill it after 20 s. Harmless when it does not run."""
        if self._child is not None:
            await self._child.stop(_STOP_GRACE_S)

    async def kill(self) -> None:
        """End the node as a crash does. What it acknowledged is still there afterwards:
        the operating system keeps what was written."""
        if self._child is not None:
            self._child.kill()
            await self._child.wait(_KILL_WAIT_S)

    async def wait(self) -> int:
        """Wait, without limit, until the started node ends; returns its exit status.

        Raises:
            RuntimeError: it was never started.
        """
        if self._child is None:
            raise RuntimeError("this Kafka was never started")
        return await self._child.wait()

    @property
    def log_path(self) -> Path:
        """Its log file."""
        return self.data_dir / "kafka.log"

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of its log since the last start."""
        return "" if self._child is None else self._child.log_tail(lines)

    async def _run_once(
        self, java: Java, jars: Path, data_dir: Path, flags: tuple[str, ...]
    ) -> None:
        node = EmbeddedKafka(data_dir, start_timeout_s=self._start_timeout_s)
        node._sharing = flags
        await node._start(java, jars)
        assert node._child is not None
        await node._child.stop(_ARCHIVE_GRACE_S)

    async def _format(self, java: Java, jars: Path, properties: Path) -> None:
        # No marker: no node ever ran on these data. A format that was interrupted is redone.
        shutil.rmtree(self.data_dir / "data", ignore_errors=True)
        cluster_id = _new_cluster_id()
        arguments = ["--standalone", "--cluster-id", cluster_id, "--config", str(properties)]
        main = ["kafka.tools.StorageTool", "format", *arguments]
        child = self._java_child("kafka-format", java, jars, main)
        child.start()
        try:
            returncode = await child.wait(self._start_timeout_s)
        except TimeoutError:
            raise self._not_started(child, "its data directory was not formatted") from None
        finally:
            await child.stop(0.0)
        if returncode != 0:
            raise self._not_started(child, f"format ended with status {returncode}")
        content = {"cluster_id": cluster_id, "kafka_version": KAFKA_VERSION}
        scratch = self._marker.with_suffix(".tmp")
        scratch.write_text(json.dumps(content) + "\n")
        scratch.rename(self._marker)

    async def _run(self, java: Java, jars: Path, properties: Path, port: int) -> None:
        child = self._java_child("kafka", java, jars, ["kafka.Kafka", str(properties)])
        self._child = child
        child.start()
        try:
            await self._until_ready(child, port)
        except BaseException:
            # After a cancellation, too, nothing is left running when this returns.
            await child.stop(0.0)
            raise
        _log.info("kafka_started", port=port, pid=child.pid, java=java.version)

    async def _until_ready(self, child: Child, port: int) -> None:
        try:
            async with asyncio.timeout(self._start_timeout_s):
                while not await self._answers(port):
                    if child.returncode is not None:
                        raise self._not_started(child, f"ended with status {child.returncode}")
                    await asyncio.sleep(_ATTEMPT_INTERVAL_S)
        except TimeoutError:
            reason = f"no answer within {self._start_timeout_s:g} s"
            raise self._not_started(child, reason) from None

    async def _answers(self, port: int) -> bool:
        """Whether *this* node answers a metadata request with itself as a live broker."""
        timeout_ms = int(_REQUEST_TIMEOUT_S * 1000)
        try:
            connection = await create_conn("127.0.0.1", port, request_timeout_ms=timeout_ms)
        except (OSError, KafkaError, TimeoutError):
            return False
        try:
            answer = await connection.send(MetadataRequest([]))
        except (OSError, KafkaError, TimeoutError):
            return False
        finally:
            connection.close()
        cluster_id = json.loads(self._marker.read_text())["cluster_id"]
        return answer.cluster_id == cluster_id and len(answer.brokers) == 1

    def _java_child(self, name: str, java: Java, jars: Path, main: list[str]) -> Child:
        # A heap or agent meant for other programs must not change ours.
        dropped = {"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH"}
        return Child(
            name,
            [java.executable, *JVM_FLAGS, *self._sharing, "-cp", f"{jars}/*", *main],
            env={name: value for name, value in os.environ.items() if name not in dropped},
            log_path=self.data_dir / "kafka.log",
            cwd=self.data_dir,
        )

    def _not_started(self, child: Child, reason: str) -> KafkaNotStartedError:
        return KafkaNotStartedError(
            f"Kafka did not start: {reason}. Its log is {child.log_path}; if the data in"
            f" {self.data_dir} are broken or of another version, delete that directory."
            f" The log ends with:\n{child.log_tail()}"
        )


def _new_cluster_id() -> str:
    """A random UUID in Kafka's form: 22 characters of URL-safe base 64.

    One that begins with ``-`` would be taken for an option.
    """
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text
