"""Kafka's jars: fetched once, verified always. No test here reaches beyond 127.0.0.1."""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath

import pytest

from orchestrator.local.embedded.errors import KafkaJarsRefusedError, KafkaJarsUnavailableError
from orchestrator.local.embedded.jars import Jar, fetch_kafka_jars, read_jar_list

ONE = Jar(PurePosixPath("org/one/one/1.0/one-1.0.jar"), hashlib.sha256(b"one").hexdigest())
TWO = Jar(PurePosixPath("org/two/two/2.0/two-2.0.jar"), hashlib.sha256(b"two").hexdigest())


@dataclass
class Repository:
    """A remote Maven repository: what it serves, and what was asked of it."""

    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    """The only repository that jgo knows; the local one is empty."""
    repository = Repository()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            repository.asked.append(self.path)
            content = repository.files.get(self.path.removeprefix("/"))
            self.send_response(404 if content is None else 200)
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        config = tmp_path / "jgo.conf"
        port = server.server_address[1]
        config.write_text(f"[repositories]\ncentral = http://127.0.0.1:{port}\n")
        monkeypatch.setenv("JGO_CONFIG_FILE", str(config))
        monkeypatch.setenv("M2_REPO", str(tmp_path / "m2"))
        yield repository
        server.shutdown()


def test_the_committed_list_names_each_jar_once() -> None:
    jars = read_jar_list()

    assert len({jar.name for jar in jars}) == len(jars)
    assert "kafka_2.13-4.3.1.jar" in {jar.name for jar in jars}
    assert all(len(jar.sha256) == 64 for jar in jars)


def test_jars_are_fetched_once_and_then_used_without_a_repository(
    remote: Repository, tmp_path: Path
) -> None:
    remote.files = {str(ONE.path): b"one", str(TWO.path): b"two"}

    first = fetch_kafka_jars(tmp_path / "cache", jars=(ONE, TWO))
    asked = len(remote.asked)
    second = fetch_kafka_jars(tmp_path / "cache", jars=(ONE, TWO))

    assert first == second
    assert {path.name: path.read_bytes() for path in first.iterdir()} == {
        "one-1.0.jar": b"one",
        "two-2.0.jar": b"two",
    }
    assert len(remote.asked) == asked > 0


def test_a_jar_in_the_local_repository_is_not_fetched(remote: Repository, tmp_path: Path) -> None:
    local = tmp_path / "m2" / ONE.path
    local.parent.mkdir(parents=True)
    local.write_bytes(b"one")

    directory = fetch_kafka_jars(tmp_path / "cache", jars=(ONE,))

    assert (directory / "one-1.0.jar").read_bytes() == b"one"
    assert remote.asked == []


def test_a_torn_jar_in_the_local_repository_is_fetched_instead(
    remote: Repository, tmp_path: Path
) -> None:
    local = tmp_path / "m2" / ONE.path
    local.parent.mkdir(parents=True)
    local.write_bytes(b"on")
    remote.files = {str(ONE.path): b"one"}

    directory = fetch_kafka_jars(tmp_path / "cache", jars=(ONE,))

    assert (directory / "one-1.0.jar").read_bytes() == b"one"
    assert local.read_bytes() == b"on"


def test_a_jar_with_other_bytes_is_refused_and_nothing_is_kept(
    remote: Repository, tmp_path: Path
) -> None:
    remote.files = {str(ONE.path): b"one", str(TWO.path): b"tampered"}

    with pytest.raises(KafkaJarsRefusedError, match=r"not the listed two-2\.0\.jar") as caught:
        fetch_kafka_jars(tmp_path / "cache", jars=(ONE, TWO))

    assert caught.value.code == "KAFKA_JARS_REFUSED"
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_a_cached_jar_that_was_changed_is_refused(remote: Repository, tmp_path: Path) -> None:
    remote.files = {str(ONE.path): b"one"}
    directory = fetch_kafka_jars(tmp_path / "cache", jars=(ONE,))
    (directory / "one-1.0.jar").write_bytes(b"changed")

    with pytest.raises(KafkaJarsRefusedError, match=f"Delete {directory}"):
        fetch_kafka_jars(tmp_path / "cache", jars=(ONE,))


def test_a_jar_that_no_repository_has_is_unavailable(remote: Repository, tmp_path: Path) -> None:
    with pytest.raises(KafkaJarsUnavailableError, match=r"org\.one:one") as caught:
        fetch_kafka_jars(tmp_path / "cache", jars=(ONE,))

    assert caught.value.code == "KAFKA_JARS_UNAVAILABLE"
    assert caught.value.retriable


def test_no_network_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remote: Repository
) -> None:
    config = tmp_path / "closed.conf"
    config.write_text("[repositories]\ncentral = http://127.0.0.1:1\n")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(config))

    with pytest.raises(KafkaJarsUnavailableError, match=r"jgo\.conf"):
        fetch_kafka_jars(tmp_path / "cache", jars=(ONE,))


def test_two_processes_that_need_the_jars_at_once_fetch_them_once(
    remote: Repository, tmp_path: Path
) -> None:
    remote.files = {str(ONE.path): b"one", str(TWO.path): b"two"}
    program = (
        "from pathlib import Path, PurePosixPath\n"
        "from orchestrator.local.embedded.jars import Jar, fetch_kafka_jars\n"
        f"jars = ({ONE!r}, {TWO!r})\n"
        f"print(fetch_kafka_jars(Path({str(tmp_path / 'cache')!r}), jars=jars))\n"
    )

    processes = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=os.environ)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=60)[0] for process in processes]

    assert [process.returncode for process in processes] == [0, 0]
    assert outputs[0].splitlines()[-1] == outputs[1].splitlines()[-1]
    assert remote.asked.count(f"/{ONE.path}") == 1
