"""How requests are counted. Real transports, without the system behind them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, cast

import grpc
import httpx
import pytest
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from orchestrator.api.errors import ApiError
from orchestrator.api.grpc.calls import Context, Servicing, answering, streaming
from orchestrator.api.http.counting import Counting
from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from schemas.gen.orchestrator.v1 import orchestrator_pb2_grpc as pb_grpc


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def until(condition: Callable[[], bool]) -> None:
    """The server counts a call a moment after its caller has the answer."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # the server is in this loop
            await asyncio.sleep(0.01)


class _Access:
    async def admit(self, *_: object, **__: object) -> None:
        return None

    async def while_allowed(self, _caller: object, items: Any) -> AsyncGenerator[Any]:
        async for item in items:
            yield item


class _Service(Servicing, pb_grpc.OrchestratorServicer):
    """Answers, refuses, fails, or goes on until its caller leaves: as the task's id says."""

    name = "orchestrator.v1.Orchestrator"

    @answering
    async def GetTask(  # noqa: N802  # a method of the proto
        self, caller: object, request: pb.GetTaskRequest, context: Context
    ) -> pb.GetTaskResponse:
        if request.task_id == "absent":
            raise ApiError("TASK_UNKNOWN", "there is no such task")
        if request.task_id == "broken":
            raise ZeroDivisionError
        return pb.GetTaskResponse()

    @streaming
    async def WatchTask(  # noqa: N802
        self, caller: object, request: pb.WatchTaskRequest, context: Context
    ) -> AsyncGenerator[pb.WatchTaskResponse]:
        while True:
            yield pb.WatchTaskResponse()


@pytest.fixture
async def stub() -> AsyncIterator[Any]:
    server = grpc.aio.server()
    use_cases = cast(Any, SimpleNamespace(access=_Access()))
    pb_grpc.add_OrchestratorServicer_to_server(
        _Service(use_cases),  # type: ignore[abstract]  # nobody calls the other methods
        server,
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield pb_grpc.OrchestratorStub(channel)
    await server.stop(0)


@pytest.mark.parametrize(
    ("task_id", "status"),
    [("t1", "success"), ("absent", "invalid_argument"), ("broken", "internal")],
)
async def test_a_call_counts_once_with_its_status(stub: Any, task_id: str, status: str) -> None:
    def counted() -> float:
        return value("orchestrator_grpc_requests_total", method="GetTask", status=status)

    before = counted()
    answer = stub.GetTask(pb.GetTaskRequest(task_id=task_id))
    code = await answer.code()

    assert code.name.lower() == {"success": "ok"}.get(status, status)
    await until(lambda: counted() > before)
    assert counted() == before + 1


async def test_a_stream_whose_caller_leaves_is_cancelled(stub: Any) -> None:
    def left() -> float:
        return value("orchestrator_grpc_requests_total", method="WatchTask", status="cancelled")

    before = left()
    call = stub.WatchTask(pb.WatchTaskRequest(task_id="t1"))
    await call.read()
    call.cancel()
    await until(lambda: left() > before)

    assert left() == before + 1


async def _task(request: Request) -> Response:
    return PlainTextResponse("", status_code=int(request.path_params["task_id"]))


async def _socket(socket: WebSocket) -> None:
    if socket.query_params.get("refused"):
        await socket.close()
        return
    await socket.accept()
    await socket.close()


_ROUTES = [
    Route("/api/v1/tasks/{task_id}", _task, methods=["GET"]),
    WebSocketRoute("/api/v1/ws", _socket),
]
APP = Counting(Starlette(routes=_ROUTES), _ROUTES)


@pytest.mark.parametrize(
    ("method", "path", "route", "status"),
    [
        ("GET", "/api/v1/tasks/200", "/api/v1/tasks/{task_id}", "200"),
        ("GET", "/api/v1/tasks/503", "/api/v1/tasks/{task_id}", "503"),
        ("POST", "/api/v1/tasks/200", "/api/v1/tasks/{task_id}", "405"),
        ("GET", "/elsewhere/9f3c", "unmatched", "404"),
    ],
)
async def test_a_request_counts_once_by_its_route(
    method: str, path: str, route: str, status: str
) -> None:
    labels = {"route": route, "method": method, "status": status}
    before = value("orchestrator_http_requests_total", **labels)
    transport = httpx.ASGITransport(APP)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        await client.request(method, path)

    assert value("orchestrator_http_requests_total", **labels) == before + 1


async def test_a_method_that_nobody_knows_makes_no_series_of_its_own() -> None:
    transport = httpx.ASGITransport(APP)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        await client.request("BREW", "/api/v1/tasks/200")

    found = {
        sample.labels["method"]
        for family in REGISTRY.collect()
        if family.name == "orchestrator_http_requests"
        for sample in family.samples
    }
    assert "other" in found
    assert "BREW" not in found


@pytest.mark.parametrize(("query", "status"), [("", "101"), ("?refused=1", "403")])
def test_a_websocket_counts_when_it_is_accepted_or_refused(query: str, status: str) -> None:
    labels = {"route": "/api/v1/ws", "method": "GET", "status": status}
    before = value("orchestrator_http_requests_total", **labels)
    client = TestClient(APP)
    try:
        with client.websocket_connect(f"/api/v1/ws{query}"):
            pass
    except WebSocketDisconnect:
        pass

    assert value("orchestrator_http_requests_total", **labels) == before + 1
