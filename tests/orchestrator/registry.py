"""A schema registry in this process: it knows nothing at first, and keeps what is registered."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FIRST_ID = 70_000


@contextmanager
def a_registry() -> Iterator[str]:
    """Its URL. Each schema gets an id of its own, the same under every subject."""
    ids: dict[str, int] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            schema = self._body()["schema"]
            if self.path.endswith("/versions"):
                ids.setdefault(schema, FIRST_ID + len(ids))
            known = ids.get(schema)
            self._answer(404 if known is None else 200, {} if known is None else {"id": known})

        def do_PUT(self) -> None:
            self._answer(200, self._body())

        def log_message(self, *_: object) -> None:
            """Nothing: the tests ask for the outcome."""

        def _body(self) -> dict[str, str]:
            length = int(self.headers["Content-Length"])
            return dict(json.loads(self.rfile.read(length)))

        def _answer(self, status: int, document: object) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
