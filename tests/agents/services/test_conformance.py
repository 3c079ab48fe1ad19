"""What every client of a step service promises, whatever the transport."""

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import grpc
import pytest
from aiohttp import web

from agents.services.balancing.client import BalancedStepClient
from agents.services.client import StepClient, StepRequest, StepResponse
from agents.services.discovery.endpoint import Endpoint
from agents.services.discovery.static_list import StaticEndpoints
from agents.services.failure import ServiceError
from agents.services.grpc_client import GrpcStepClient
from agents.services.http_client import HttpStepClient
from agents.services.inline_client import InlineStepClient
from agents.services.service_tls import ServiceTls
from schemas.gen.services.v1 import step_service_pb2 as pb
from schemas.records import Json
from streams.tls import ClientTls
from tests.agents.services import test_grpc_client as over_grpc
from tests.agents.services import test_http_client as over_http
from tests.agents.services.secured import Files, server_context, server_credentials
from tests.agents.services.test_grpc_client import SOON_S, a_request

Work = Callable[[str, str], Awaitable[str]]
"""What the service does, the same over every transport: from input and key to output."""


class Service:
    """Does the work of a test, and remembers its calls."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self.calls = 0
        self.called = asyncio.Event()
        self.aborted = asyncio.Event()

    async def run(self, given: str, key: str) -> str:
        self.calls += 1
        self.called.set()
        try:
            return await self._work(given, key)
        except asyncio.CancelledError:
            self.aborted.set()
            raise


async def echo(given: str, key: str) -> str:
    return json.dumps({"given": json.loads(given), "key": key})


async def fail(given: str, key: str) -> str:
    raise RuntimeError("broken")


async def hang(given: str, key: str) -> str:
    await asyncio.Event().wait()
    return given


@contextlib.asynccontextmanager
async def grpc_client(service: Service, files: Files | None = None) -> AsyncIterator[StepClient]:
    async def run(request: pb.RunRequest, context: over_grpc.Context) -> pb.RunResponse:
        key = dict(context.invocation_metadata() or ())["idempotency-key"]
        try:
            output = await service.run(request.input, str(key))
        except RuntimeError as error:
            await context.abort(grpc.StatusCode.INTERNAL, str(error))
        return pb.RunResponse(output=output)

    scripted, tls, credentials = over_grpc.ScriptedService(run), None, None
    if files is not None:
        tls, credentials = tls_of(files), server_credentials(files.server())
    async with over_grpc.a_server(scripted, credentials=credentials) as port:
        client = GrpcStepClient(
            f"127.0.0.1:{port}",
            service="rag-engine",
            max_message_bytes=over_grpc.MAX_BYTES,
            tls=tls,
        )
        async with closing(client):
            yield client


@contextlib.asynccontextmanager
async def grpcs_client(service: Service) -> AsyncIterator[StepClient]:
    with tempfile.TemporaryDirectory() as folder:
        async with grpc_client(service, Files(Path(folder))) as client:
            yield client


def tls_of(files: Files) -> ServiceTls:
    return ServiceTls(ClientTls(ca_file=files.ca))


@contextlib.asynccontextmanager
async def http_client(service: Service, files: Files | None = None) -> AsyncIterator[StepClient]:
    async def run(request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.text())
        try:
            output = await service.run(
                json.dumps(body["input"]), request.headers["idempotency-key"]
            )
        except RuntimeError as error:
            return web.json_response({"message": str(error)}, status=500)
        return web.Response(
            body=b'{"output": %s}' % output.encode(), content_type="application/json"
        )

    scripted, tls, context = over_http.ScriptedService(run), None, None
    if files is not None:
        tls, context = tls_of(files), server_context(files.server())
    async with over_http.a_server(scripted, context=context) as url:
        client = HttpStepClient(
            url, service="rag-engine", max_message_bytes=over_grpc.MAX_BYTES, tls=tls
        )
        async with closing(client):
            yield client


@contextlib.asynccontextmanager
async def https_client(service: Service) -> AsyncIterator[StepClient]:
    with tempfile.TemporaryDirectory() as folder:
        async with http_client(service, Files(Path(folder))) as client:
            yield client


@contextlib.asynccontextmanager
async def closing(client: StepClient) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def inline_client(service: Service) -> AsyncIterator[StepClient]:
    async def run(request: StepRequest) -> StepResponse:
        return StepResponse(output=Json(await service.run(request.input, request.idempotency_key)))

    yield InlineStepClient(run, service="rag-engine")


def balanced(connect: "Connect") -> "Connect":
    """A balanced client over two of the clients of a transport."""

    @contextlib.asynccontextmanager
    async def connected(service: Service) -> AsyncIterator[StepClient]:
        async with connect(service) as one, connect(service) as other:
            clients = {Endpoint("one", 1): one, Endpoint("other", 1): other}
            source = StaticEndpoints([*clients])
            client = BalancedStepClient(source, clients.__getitem__, service="rag-engine")
            async with closing(client):
                yield client

    return connected


Connect = Callable[[Service], contextlib.AbstractAsyncContextManager[StepClient]]

over_each_transport = pytest.mark.parametrize(
    "connect",
    [
        *(grpc_client, grpcs_client, http_client, https_client, inline_client),
        *(balanced(grpc_client), balanced(http_client)),
    ],
    ids=["grpc", "grpcs", "http", "https", "inline", "balanced-grpc", "balanced-http"],
)


@over_each_transport
async def test_the_output_is_that_of_the_service_for_this_input_and_key(connect: Connect) -> None:
    async with connect(Service(echo)) as client:
        answer = await client.call(a_request(text='{"q": "ü"}', key="t/1/generate/2"))

    assert json.loads(answer.output) == {"given": {"q": "ü"}, "key": "t/1/generate/2"}


@over_each_transport
async def test_a_failure_of_the_service_is_retriable_and_was_called_once(connect: Connect) -> None:
    service = Service(fail)
    async with connect(service) as client:
        with pytest.raises(ServiceError) as raised:
            await client.call(a_request())

    assert (raised.value.code, raised.value.retriable) == ("SERVICE_FAILED", True)
    assert (raised.value.service, service.calls) == ("rag-engine", 1)


@over_each_transport
async def test_a_service_that_hangs_is_left_after_the_timeout(connect: Connect) -> None:
    service = Service(hang)
    async with connect(service) as client:
        with pytest.raises(ServiceError) as raised:
            await client.call(a_request(timeout_s=0.3))
        async with asyncio.timeout(SOON_S):
            await service.aborted.wait()

    assert (raised.value.code, raised.value.retriable) == ("SERVICE_TIMEOUT", True)


@over_each_transport
async def test_without_time_the_service_is_not_called(connect: Connect) -> None:
    service = Service(echo)
    async with connect(service) as client:
        with pytest.raises(ServiceError) as raised:
            await client.call(a_request(timeout_s=0.0))

    assert (raised.value.code, service.calls) == ("SERVICE_TIMEOUT", 0)


@over_each_transport
async def test_a_call_that_is_given_up_is_aborted_at_the_service(connect: Connect) -> None:
    service = Service(hang)
    async with connect(service) as client:
        calling = asyncio.create_task(client.call(a_request()))
        async with asyncio.timeout(SOON_S):
            await service.called.wait()
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
            await service.aborted.wait()


@over_each_transport
async def test_many_calls_at_once_get_their_own_answers(connect: Connect) -> None:
    async with connect(Service(echo)) as client:
        answers = await asyncio.gather(
            *(client.call(a_request(text=f'{{"n": {n}}}', key=f"t{n}/1/s/1")) for n in range(20))
        )

    assert [json.loads(answer.output) for answer in answers] == [
        {"given": {"n": n}, "key": f"t{n}/1/s/1"} for n in range(20)
    ]


@over_each_transport
async def test_a_client_can_be_closed_twice(connect: Connect) -> None:
    async with connect(Service(echo)) as client:
        await client.call(a_request())
        await client.close()
        await client.close()
