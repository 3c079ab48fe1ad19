"""Each process says over HTTP whether it began, makes progress and is ready, and what it counts."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from prometheus_client import REGISTRY
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from structlog.testing import capture_logs

from orchestrator.monitoring.endpoint import monitored
from orchestrator.monitoring.settings import MetricsSettings
from orchestrator.monitoring.target import read_targets
from schemas.errors import SettingsError
from streams import metrics
from streams.health import ALIVE_S, Health


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(clock=clock)


@pytest.fixture
def served(health: Health, tmp_path: Path) -> Iterator[httpx.Client]:
    with monitored(MetricsSettings(targets_dir=tmp_path), health, role="router"):
        [group] = json.loads((tmp_path / f"router-{os.getpid()}.json").read_text())
        with httpx.Client(base_url=f"http://{group['targets'][0]}", trust_env=False) as client:
            yield client


def answers(client: httpx.Client) -> dict[str, int]:
    return {path: client.get(path).status_code for path in ("/startupz", "/healthz", "/readyz")}


def test_a_process_that_starts_is_alive_but_neither_started_nor_ready(
    served: httpx.Client, health: Health
) -> None:
    health.beat()
    health.starting("checks Kafka")

    assert answers(served) == {"/startupz": 503, "/healthz": 200, "/readyz": 503}
    assert served.get("/readyz").json()["parts"] == {"start": "checks Kafka"}

    health.started()
    assert answers(served) == {"/startupz": 200, "/healthz": 200, "/readyz": 200}


def test_a_process_that_is_not_ready_names_the_part_and_the_reason(
    served: httpx.Client, health: Health
) -> None:
    health.beat()
    health.started()
    health.add("kafka", lambda: None)
    health.add("postgres", lambda: "SINK_UNAVAILABLE: no answer")

    assert answers(served) == {"/startupz": 200, "/healthz": 200, "/readyz": 503}
    assert served.get("/readyz").json()["parts"] == {"postgres": "SINK_UNAVAILABLE: no answer"}


def test_an_event_loop_that_stands_still_is_not_alive(
    served: httpx.Client, health: Health, clock: Clock
) -> None:
    health.started()
    health.beat()
    clock.now_s += ALIVE_S + 1

    assert answers(served) == {"/startupz": 200, "/healthz": 503, "/readyz": 503}
    assert "stands still for 31 s" in served.get("/healthz").json()["parts"]["loop"]

    health.beat()
    assert served.get("/healthz").status_code == 200


def test_metrics_are_in_the_format_that_prometheus_asks_for(served: httpx.Client) -> None:
    wanted = {"accept": "application/openmetrics-text; version=1.0.0"}

    assert 'orchestrator_build_info{python="' in served.get("/metrics").text
    assert served.get("/metrics", headers=wanted).text.endswith("# EOF\n")


def test_the_duration_of_a_call_carries_the_trace_of_a_sampled_one(served: httpx.Client) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    metrics.STEP_SECONDS.labels("a-step", "succeeded").observe(0.2, {"trace_id": trace_id})
    wanted = {"accept": "application/openmetrics-text; version=1.0.0"}

    assert f'# {{trace_id="{trace_id}"}} 0.2' in served.get("/metrics", headers=wanted).text


@pytest.mark.parametrize("path", ["/", "/metrics/", "/healthz%00", "/a" * 3000])
def test_another_path_is_not_found_and_the_answer_lists_the_paths(
    served: httpx.Client, path: str
) -> None:
    answer = served.get(path)
    assert answer.status_code == 404
    assert "/readyz" in answer.json()["paths"]


def test_a_web_page_on_this_machine_cannot_read_metrics_by_dns_rebinding(
    served: httpx.Client,
) -> None:
    assert served.get("/metrics", headers={"host": "evil.example"}).status_code == 403
    assert served.get("/readyz", headers={"host": ""}).status_code == 403
    assert served.post("/metrics").status_code == 405


def test_a_client_that_says_nothing_does_not_keep_others_waiting(served: httpx.Client) -> None:
    address = (served.base_url.host, served.base_url.port or 0)
    silent = [socket.create_connection(address) for _ in range(50)]
    try:
        assert served.get("/metrics").status_code == 200
    finally:
        for one in silent:
            one.close()


def test_the_target_is_there_while_the_process_runs(health: Health, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "targets"
    settings = MetricsSettings(targets_dir=folder, name="router.2")
    with monitored(settings, health, role="router"):
        [group] = json.loads((folder / "router.2.json").read_text())
        assert group["labels"] == {
            "job": "ai-orchestrator",
            "role": "router",
            "process": "router.2",
            "__meta_orchestrator_pid": str(os.getpid()),
            "__meta_orchestrator_host": socket.gethostname(),
        }
        # The successor of a process that was killed has the same name.
        with monitored(settings, health, role="router"):
            pass
    assert list(folder.iterdir()) == []


def test_the_target_of_a_process_that_listens_everywhere_can_be_asked(
    health: Health, tmp_path: Path
) -> None:
    settings = MetricsSettings(targets_dir=tmp_path, name="all", host="0.0.0.0")
    with monitored(settings, health, role="all"):
        [target] = read_targets(tmp_path)

    assert target.address.startswith("127.0.0.1:")


def test_a_taken_port_and_a_folder_that_cannot_be_written_stop_the_start(
    health: Health, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(SettingsError, match="ORCH_METRICS_PORT"),
            monitored(MetricsSettings(port=port), health, role="sink"),
        ):
            pass
    (tmp_path / "file").write_text("")
    settings = MetricsSettings(targets_dir=tmp_path / "file")
    with (
        pytest.raises(SettingsError, match="ORCH_METRICS_TARGETS_DIR"),
        monitored(settings, health, role="sink"),
    ):
        pass


def test_a_disabled_endpoint_listens_nowhere(health: Health, tmp_path: Path) -> None:
    with monitored(MetricsSettings(enabled=False, targets_dir=tmp_path), health, role="sink"):
        assert list(tmp_path.iterdir()) == []


def test_a_check_that_raises_is_a_part_that_is_not_ready(
    served: httpx.Client, health: Health
) -> None:
    def changing() -> str | None:
        raise RuntimeError("dictionary changed size during iteration")

    health.started()
    health.add("service", changing)

    assert answers(served) == {"/startupz": 200, "/healthz": 200, "/readyz": 503}
    assert served.get("/readyz").json()["parts"] == {"service": "its check failed: RuntimeError"}


def test_metrics_that_cannot_be_collected_are_one_line_of_the_log(
    served: httpx.Client, capfd: pytest.CaptureFixture[str]
) -> None:
    class Broken(Collector):
        def collect(self) -> Iterator[Metric]:
            raise LookupError("no such row")

        def describe(self) -> Iterator[Metric]:
            return iter(())

    broken = Broken()
    REGISTRY.register(broken)
    try:
        with capture_logs() as lines:
            answer = served.get("/metrics")
    finally:
        REGISTRY.unregister(broken)

    assert (answer.status_code, answer.json()) == (500, {"status": "see the log"})
    assert [line["event"] for line in lines] == ["metrics_not_collected"]
    assert "Traceback" not in capfd.readouterr().err


def test_idle_connections_take_a_bounded_number_of_threads_and_keep_nobody_out(
    served: httpx.Client,
) -> None:
    before, address = threading.active_count(), (served.base_url.host, served.base_url.port)
    idle = [socket.create_connection(address) for _ in range(100)]
    ends = []
    for connection in idle[:60]:
        connection.settimeout(3)
        ends.append(connection.recv(1))

    assert ends == [b""] * 60
    assert 0 < threading.active_count() - before <= 40
    assert served.get("/startupz").status_code == 503
    for connection in idle:
        connection.close()


def test_a_client_that_sends_a_byte_now_and_then_is_cut_off(
    served: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.monitoring.endpoint._OPEN_S", 0.2)
    with socket.create_connection((served.base_url.host, served.base_url.port)) as connection:
        connection.settimeout(0.1)
        deadline_s, end = time.monotonic() + 10, None
        while end is None and time.monotonic() < deadline_s:
            with suppress(TimeoutError):
                connection.sendall(b"G")
                end = connection.recv(1)

    assert end == b""
