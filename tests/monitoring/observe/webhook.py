"""A receiver of alerts: what Alertmanager delivers, by the name of the route's receiver."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(slots=True)
class Webhook:
    """A running receiver."""

    url: str
    delivered: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """The receiver, and each alert as Alertmanager sent it."""

    def firing(self) -> dict[str, str]:
        """Every alert that was delivered as firing, and the receiver that had it first."""
        found: dict[str, str] = {}
        for receiver, alert in self.delivered:
            if alert["status"] == "firing":
                found.setdefault(alert["labels"]["alertname"], receiver)
        return found


@contextmanager
def open_webhook() -> Iterator[Webhook]:
    """Receive on a free port of this machine inside the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver = self.path.strip("/")
            webhook.delivered += [(receiver, alert) for alert in json.loads(body)["alerts"]]
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    webhook = Webhook(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield webhook
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
