"""The HTTP endpoint of a process: its metrics for Prometheus, its health for a supervisor.

A thread answers, so that a process whose event loop stands still is found.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from socket import SHUT_RDWR, create_connection, socket
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import msgspec
import structlog
from prometheus_client import make_wsgi_app

from orchestrator.api.access.browsers import BrowserRules, is_this_machine
from orchestrator.monitoring.settings import MetricsSettings
from orchestrator.monitoring.target import written_target
from schemas.errors import SettingsError
from streams import metrics
from streams.health import Health

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

log = structlog.get_logger()

_SILENT_S = 5.0
"""Seconds that a connection may be silent: a slow client must not keep a thread."""
_OPEN_S = 30.0
"""Seconds that a connection may be open, also one whose client sends a byte now and then."""
_CONNECTIONS_MAX = 32
"""Open connections, each with a thread; one more ends the oldest. The files that a process may open
are needed for Kafka and Postgres."""

_WAKE_S = 0.05
"""Between two connections that wake a server which has to end."""

_ANY = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1"}
_RULES = BrowserRules(open=True)


@contextmanager
def monitored(settings: MetricsSettings, health: Health, *, role: str) -> Iterator[None]:
    """Serve the endpoint inside the block, if it is enabled.

    Args:
        settings: where.
        health: of this process.
        role: a role, or ``serve``.

    Raises:
        SettingsError: the port is taken, or the folder of targets cannot be written.
    """
    metrics.BUILD.labels(version("ai-orchestrator"), platform.python_version(), role).set(1)
    if not settings.enabled:
        yield
        return
    server = _listening(settings)
    server.set_app(_application(health, check_host=is_this_machine(settings.host)))
    thread = threading.Thread(target=server.serve_forever, name="monitoring", daemon=True)
    thread.start()
    try:
        address = f"{settings.host}:{server.server_port}"
        log.info("monitoring", address=address)
        if settings.targets_dir is None:
            yield
            return
        # An address of every interface is none at which a reader of the folder can ask.
        address = f"{_ANY.get(settings.host, settings.host)}:{server.server_port}"
        process = settings.name or f"{role}-{os.getpid()}"
        with written_target(settings.targets_dir, address, role=role, process=process):
            yield
    finally:
        server.end(thread)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address, _Handler)
        self._open: dict[socket, float] = {}
        """When each connection was accepted, on the monotonic clock; threads remove theirs."""

    def end(self, serving: threading.Thread) -> None:
        """Serve no more, and close the socket.

        Args:
            serving: runs ``serve_forever``, which looks for its end after a connection or twice a
                second. Connections wake it, so that no restart waits for it.
        """
        asking = threading.Thread(target=self.shutdown, daemon=True)
        asking.start()
        while asking.is_alive():
            with suppress(OSError):
                create_connection(self.socket.getsockname()[:2], timeout=_WAKE_S).close()
            asking.join(_WAKE_S)
        self.server_close()
        serving.join()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Take each connection; too many silent ones must not keep Prometheus out."""
        by_age = list(self._open)
        for connection in by_age[: max(0, len(by_age) - _CONNECTIONS_MAX + 1)]:
            _end(connection)
        self._open[request] = time.monotonic()
        return True

    def service_actions(self) -> None:
        """End connections that are open for too long; called twice a second."""
        now_s = time.monotonic()
        for connection, accepted_s in list(self._open.items()):
            if now_s - accepted_s > _OPEN_S:
                _end(connection)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing: a client that went away or was silent is none of our faults."""


def _end(connection: socket) -> None:
    """Let the thread of a connection read an end, or fail to write; it then closes it."""
    with suppress(OSError):
        connection.shutdown(SHUT_RDWR)


class _Handler(WSGIRequestHandler):
    timeout = _SILENT_S

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
        """Log nothing: Prometheus asks every few seconds."""


def _listening(settings: MetricsSettings) -> _Server:
    try:
        return _Server((settings.host, settings.port))
    except OSError as error:
        where = f"{settings.port} on {settings.host}"
        raise SettingsError(f"ORCH_METRICS_PORT: {where}: {error.strerror}") from error


def _application(health: Health, *, check_host: bool) -> WSGIApplication:
    scraped = cast("WSGIApplication", make_wsgi_app())

    def application(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        hosts = [environ.get("HTTP_HOST", "")]
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _answer(start, "405 Method Not Allowed", {"status": "only GET"})
        # A page in a browser of this machine must not read metrics by DNS rebinding.
        if check_host and _RULES.refusal("GET", hosts, {}) is not None:
            return _answer(start, "403 Forbidden", {"status": "host: not this machine"})
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            return _scraped(scraped, environ, start)
        if path not in _PATHS:
            return _answer(start, "404 Not Found", {"status": "unknown", "paths": list(_PATHS)})
        problems = _problems(health, path)
        if problems:
            return _answer(start, "503 Service Unavailable", {"status": "no", "parts": problems})
        return _answer(start, "200 OK", {"status": "ok"})

    return application


def _scraped(
    scraped: WSGIApplication, environ: WSGIEnvironment, start: StartResponse
) -> Iterable[bytes]:
    try:
        return scraped(environ, start)
    except Exception:
        # Otherwise the server writes a traceback past our logs.
        log.error("metrics_not_collected", exc_info=True)
        return _answer(start, "500 Internal Server Error", {"status": "see the log"})


_PATHS = ("/metrics", "/healthz", "/readyz", "/startupz")


def _problems(health: Health, path: str) -> dict[str, str]:
    stuck, starting = health.stuck(), health.start_problem()
    if path == "/startupz":
        return {} if starting is None else {"start": starting}
    loop = {} if stuck is None else {"loop": stuck}
    return loop if path == "/healthz" else {**loop, **health.problems()}


def _answer(start: StartResponse, status: str, body: object) -> list[bytes]:
    text = msgspec.json.encode(body) + b"\n"
    start(
        status,
        [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(text))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ],
    )
    return [text]
