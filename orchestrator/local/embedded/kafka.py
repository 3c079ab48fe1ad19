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
from orchestrator.local.embedded.server import EmbeddedServer
from orchestrator.local.embedded.settings import default_cache_path

USUAL_PORT = 9092
"""The port that Kafka's clients use by default."""

_STOP_GRACE_S = 20.0
"""A clean stop takes 0.5 s; it writes data that a start would otherwise have to recover."""

_ARCHIVE_GRACE_S = 90.0
"""A stop that writes the archive of classes takes 3 s, many times that on a busy machine."""

_KILL_WAIT_S = 10.0
_ATTEMPT_INTERVAL_S = 0.05
_REQUEST_TIMEOUT_S = 5.0

_log = structlog.get_logger()


class EmbeddedKafka(EmbeddedServer):
    """Apache Kafka on 127.0.0.1, without encryption or passwords: never for production.

    Topics are not created by use. Data, ports and log (``kafka.log``) are in ``data_dir``
    and survive stop, kill and start; only one node may run on a directory at a time. The
    process ends with ours (see :class:`~orchestrator.local.embedded.process.Child`). Not bound
    to an event loop: each method may be called in another one.
    """

    name = "Kafka"

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
            data_dir: of this node alone; created if missing.
            port: for clients; 0 keeps the port of the last start if it is free.
            usual_port: with ``port`` 0, tried before the port of the last start; 0: not tried.
            start_timeout_s: from the start of the process to its first answer.
            cache_path: the directory of the jars; the user's cache by default.
            progress: called before long waits of a first start on a machine.
        """
        super().__init__(data_dir, port=port, start_timeout_s=start_timeout_s)
        self._usual_port = usual_port
        self._progress = progress
        self._cache_path = cache_path or default_cache_path()
        self._marker = self.data_dir / "formatted.json"
        self._sharing: tuple[str, ...] = ()
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

    async def start(self) -> str:
        """Start the node and wait until it answers: about 3 s, 4 s on a new directory.

        The first start on a machine also makes the archive of classes, in about 8 s. If the start
        fails or is cancelled, nothing is left running.

        Returns:
            The bootstrap address, ``127.0.0.1:<port>``.

        Raises:
            JavaNotFoundError, KafkaJarsUnavailableError, KafkaJarsRefusedError: before
                anything was started.
            PortTakenError: the requested port is taken.
            KafkaNotStartedError: the server ended or did not answer in time.
            RuntimeError: it runs already, or this is not the main thread.
        """
        self._check_stopped()
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

    async def stop(self) -> None:
        """End the node cleanly; kill it after 20 s. Does nothing if the node does not run."""
        if self._child is not None:
            await self._child.stop(_STOP_GRACE_S)

    def _last_port(self) -> int:
        return int(self.bootstrap.rsplit(":", 1)[1])

    async def _run_once(
        self, java: Java, jars: Path, data_dir: Path, flags: tuple[str, ...]
    ) -> None:
        node = EmbeddedKafka(data_dir, start_timeout_s=self._start_timeout_s)
        node._sharing = flags
        await node._start(java, jars)
        assert node._child is not None
        await node._child.stop(_ARCHIVE_GRACE_S)

    async def _format(self, java: Java, jars: Path, properties: Path) -> None:
        # No marker: no node ever ran on this data. An interrupted format is redone.
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
        await self._run_child(child, partial(self._answers, port))
        _log.info("kafka_started", port=port, pid=child.pid, java=java.version)

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
        # A heap size or an agent for other programs must not change ours.
        dropped = {"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH"}
        return Child(
            name,
            [java.executable, *JVM_FLAGS, *self._sharing, "-cp", f"{jars}/*", *main],
            env={name: value for name, value in os.environ.items() if name not in dropped},
            log_path=self.log_path,
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

    A UUID that begins with ``-`` would be read as an option.
    """
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text
