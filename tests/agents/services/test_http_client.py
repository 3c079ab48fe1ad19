"""The HTTP client against real servers: the same promises as over gRPC."""

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import formatdate
from typing import Any

import pytest
from aiohttp import web

from agents.services.client import StepRequest, StepResponse
from agents.services.failure import CallFailure, ServiceError, retry_after_ms, verdict_of_http
from agents.services.http_client import HttpStepClient
from schemas.records import Error, ErrorCategory, Json, Millis, SubStep, Usage
from tests.agents.services.test_grpc_client import MAX_BYTES, SOON_S, a_request

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ScriptedService:
    """Answers as the test wrote, and remembers who called."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.calls: list[tuple[dict[str, Any], dict[str, str]]] = []
        self.peers: set[object] = set()
        self.called = asyncio.Event()
        self.aborted = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.calls.append((json.loads(await request.text()), headers))
        if request.transport is not None:
            self.peers.add(request.transport.get_extra_info("peername"))
        self.called.set()
        try:
            return await self._handler(request)
        except asyncio.CancelledError:
            self.aborted.set()
            raise


@contextlib.asynccontextmanager
async def a_server(
    service: ScriptedService, *, context: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    app = web.Application(client_max_size=4 * MAX_BYTES)
    app.router.add_post("/run", service.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        yield f"http{'s' if context else ''}://127.0.0.1:{runner.addresses[0][1]}/run"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def a_client(url: str) -> AsyncIterator[HttpStepClient]:
    client = HttpStepClient(url, service="rag-engine", max_message_bytes=MAX_BYTES)
    try:
        yield client
    finally:
        await client.close()


def answers(body: object, **fields: Any) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        if isinstance(body, bytes):
            return web.Response(body=body, **fields)
        return web.json_response(body, **fields)

    return handler


async def hangs(request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


GOOD = answers({"output": {"answer": "yes"}})


async def response_to(handler: Handler, request: StepRequest | None = None) -> StepResponse:
    async with a_server(ScriptedService(handler)) as url, a_client(url) as client:
        return await client.call(request or a_request())


async def the_error_of(handler: Handler, request: StepRequest | None = None) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await response_to(handler, request)
    return caught.value


# --- A call ---


async def test_a_request_arrives_whole_with_its_key_its_trace_and_its_time() -> None:
    service = ScriptedService(GOOD)
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with a_server(service) as url, a_client(url) as client:
        trace = {"traceparent": traceparent, "host": "evil", "bad\n": "x"}
        await client.call(a_request(text='{"q": [1, "ü"]}', trace=trace, timeout_s=30.0))

    body, headers = service.calls[0]
    assert body == {
        "method": "Generate",
        "input": {"q": [1, "ü"]},
        "task_id": "task_1",
        "run": 1,
        "step": "generate",
        "attempt": 1,
        "tenant_id": "acme",
        "conversation_id": "conv_1",
    }
    assert headers["idempotency-key"] == "task_1/1/generate/1"
    assert headers["traceparent"] == traceparent
    assert headers["host"] != "evil"
    assert headers["x-timeout-ms"] == "30000"


async def test_an_answer_comes_back_with_its_usage_and_its_substeps() -> None:
    usage = {
        "model": "m",
        "input_tokens": 3,
        "output_tokens": 2,
        "cost_micros": 7,
        "estimated": True,
    }
    error = {"code": "TOOL_DOWN", "message": "no", "category": "downstream", "retriable": True}
    substep = {
        "name": "search",
        "status": "failed",
        "output": [1],
        "error": error,
        "started_at": 5,
        "usage": usage,
    }

    response = await response_to(answers({"output": [1, 2], "usage": usage, "substeps": [substep]}))

    expected = Usage(model="m", input_tokens=3, output_tokens=2, cost_micros=7, estimated=True)
    assert response == StepResponse(
        output=Json("[1, 2]"),
        usage=expected,
        substeps=[
            SubStep(
                name="search",
                status="failed",
                output=Json("[1]"),
                error=Error(
                    code="TOOL_DOWN",
                    message="no",
                    category=ErrorCategory.DOWNSTREAM,
                    retriable=True,
                ),
                started_at=Millis(5),
                usage=expected,
            )
        ],
    )


async def test_calls_one_after_the_other_share_a_connection() -> None:
    service = ScriptedService(GOOD)
    async with a_server(service) as url, a_client(url) as client:
        for _ in range(5):
            await client.call(a_request())

    assert (len(service.calls), len(service.peers)) == (5, 1)


async def test_a_service_that_comes_back_is_used_again() -> None:
    service = ScriptedService(GOOD)
    async with a_server(service) as url:
        pass
    async with a_client(url) as client:
        with pytest.raises(ServiceError) as away:
            await client.call(a_request())
        app = web.Application()
        app.router.add_post("/run", service.handle)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", int(url.split(":")[2].split("/")[0])).start()
        response = await client.call(a_request())
        await runner.cleanup()

    assert (away.value.code, away.value.retriable) == ("SERVICE_UNAVAILABLE", True)
    assert response.output == '{"answer": "yes"}'


async def test_a_proxy_variable_does_not_divert_the_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)

    assert (await response_to(GOOD)).output == '{"answer": "yes"}'


# --- Failures that the service reports ---

TABLE = [
    (302, CallFailure.PERMANENT, "SERVICE_RESPONSE_INVALID"),
    (400, CallFailure.PERMANENT, "SERVICE_REFUSED"),
    (401, CallFailure.PERMANENT, "SERVICE_ACCESS_DENIED"),
    (403, CallFailure.PERMANENT, "SERVICE_ACCESS_DENIED"),
    (404, CallFailure.PERMANENT, "SERVICE_REFUSED"),
    (405, CallFailure.PERMANENT, "SERVICE_METHOD_UNKNOWN"),
    (407, CallFailure.PERMANENT, "SERVICE_ACCESS_DENIED"),
    (408, CallFailure.TIMEOUT, "SERVICE_TIMEOUT"),
    (409, CallFailure.TRANSIENT, "SERVICE_ABORTED"),
    (413, CallFailure.PERMANENT, "SERVICE_MESSAGE_TOO_LARGE"),
    (422, CallFailure.PERMANENT, "SERVICE_REFUSED"),
    (425, CallFailure.TRANSIENT, "SERVICE_UNAVAILABLE"),
    (429, CallFailure.TRANSIENT, "SERVICE_OVERLOADED"),
    (500, CallFailure.TRANSIENT, "SERVICE_FAILED"),
    (501, CallFailure.TRANSIENT, "SERVICE_FAILED"),
    (502, CallFailure.TRANSIENT, "SERVICE_UNAVAILABLE"),
    (503, CallFailure.TRANSIENT, "SERVICE_UNAVAILABLE"),
    (504, CallFailure.TIMEOUT, "SERVICE_TIMEOUT"),
    (599, CallFailure.TRANSIENT, "SERVICE_FAILED"),
]


@pytest.mark.parametrize(("status", "failure_class", "code"), TABLE)
async def test_every_status_has_its_verdict(
    status: int, failure_class: CallFailure, code: str
) -> None:
    error = await the_error_of(answers({"error": {"code": "X"}}, status=status))

    assert (error.failure_class, error.code) == (failure_class, code)


def test_every_4xx_but_four_of_them_is_permanent() -> None:
    retriable = [s for s in range(400, 500) if verdict_of_http(s).failure_class.retriable]

    assert retriable == [408, 409, 425, 429]


def test_every_5xx_may_succeed_later() -> None:
    assert all(verdict_of_http(status).failure_class.retriable for status in range(500, 600))


async def test_a_refusal_carries_the_code_and_the_words_of_the_service() -> None:
    body = {"error": {"code": "QUERY_EMPTY", "message": "query is\nempty"}}

    error = await the_error_of(answers(body, status=400))

    assert (error.code, error.detail_code) == ("SERVICE_REFUSED", "QUERY_EMPTY")
    assert error.message == "rag-engine: HTTP 400 QUERY_EMPTY: query is empty"


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b'{"error": 1}', b"[" * 20_000, b"\xff"])
async def test_a_failure_without_a_readable_body_is_judged_by_its_status(body: bytes) -> None:
    error = await the_error_of(answers(body, status=503))

    assert (error.code, error.message) == ("SERVICE_UNAVAILABLE", "rag-engine: HTTP 503")


async def test_an_overloaded_service_says_when_to_come_back() -> None:
    error = await the_error_of(answers({}, status=429, headers={"Retry-After": "7"}))

    assert (error.code, error.retry_after_ms) == ("SERVICE_OVERLOADED", 7000)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("in_s", "at_least", "at_most"), [(60, 55_000, 61_000), (-60, 0, 0)])
async def test_a_date_to_come_back_at_counts_for_busy_and_for_away(
    status: int, in_s: int, at_least: int, at_most: int
) -> None:
    date = formatdate(time.time() + in_s, usegmt=True)

    error = await the_error_of(answers({}, status=status, headers={"Retry-After": date}))

    assert error.retry_after_ms is not None
    assert at_least <= error.retry_after_ms <= at_most


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("0", 0, id="at once"),
        pytest.param("120", 120_000, id="seconds"),
        pytest.param("9" * 12, 86_400_000, id="cut to a day"),
        pytest.param("9" * 5000, None, id="too long to be meant"),
        pytest.param(formatdate(1_000_030, usegmt=True), 30_000, id="a date"),
        pytest.param(formatdate(999_000, usegmt=True), 0, id="a date that has passed"),
        pytest.param(formatdate(9_000_000, usegmt=True), 86_400_000, id="a date far away"),
        pytest.param("Fri, 99 Foo 2020", None, id="no date"),
        pytest.param("Mon, 01 Jan 99999 00:00:00 GMT", None, id="a year that does not exist"),
        pytest.param("-1", None, id="negative"),
        pytest.param("1.5", None, id="not whole"),
        pytest.param("١٢", None, id="other digits"),
        pytest.param("", None, id="empty"),
        pytest.param(None, None, id="absent"),
    ],
)
def test_retry_after_is_seconds_or_a_date_or_nothing(
    value: str | None, expected: int | None
) -> None:
    assert retry_after_ms(value, now_s=1_000_000.0) == expected


async def test_a_redirect_is_not_followed() -> None:
    service = ScriptedService(answers({}, status=307, headers={"Location": "/run"}))
    async with a_server(service) as url, a_client(url) as client:
        with pytest.raises(ServiceError) as caught:
            await client.call(a_request())

    assert (caught.value.code, len(service.calls)) == ("SERVICE_RESPONSE_INVALID", 1)


# --- Answers that cannot be used ---


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<html>", id="no JSON"),
        pytest.param(b"{}", id="no output"),
        pytest.param(b"[]", id="no object"),
        pytest.param(b'{"output": NaN}', id="NaN"),
        pytest.param(b'{"output": "\xff"}', id="no UTF-8"),
        pytest.param(b'{"output": ' + b"[" * 30_000, id="too deep"),
        pytest.param(b'{"output": 1, "usage": {"cost_micros": -1}}', id="negative cost"),
        pytest.param(b'{"output": 1, "usage": {"cost_micros": 1.5}}', id="a part of a micro"),
        pytest.param(b'{"output": 1, "usage": {"input_tokens": 1' + b"0" * 99 + b"}}", id="giant"),
        pytest.param(b'{"output": 1, "substeps": [{}]}', id="a substep without a time"),
        pytest.param(b'{"output": 1, "substeps": [{"started_at": -1}]}', id="before 1970"),
    ],
)
async def test_an_answer_that_breaks_the_contract_is_permanent(body: bytes) -> None:
    error = await the_error_of(answers(body))

    assert (error.code, error.retriable) == ("SERVICE_RESPONSE_INVALID", False)


async def test_an_answer_over_the_limit_is_permanent() -> None:
    error = await the_error_of(answers({"output": "x" * MAX_BYTES}))

    assert (error.code, error.retriable) == ("SERVICE_MESSAGE_TOO_LARGE", False)


async def test_a_compressed_answer_is_not_unpacked() -> None:
    said_to_be = {"Content-Encoding": "gzip"}
    error = await the_error_of(answers(b'{"output": 1}', headers=said_to_be))

    assert (error.code, error.retriable) == ("SERVICE_RESPONSE_INVALID", False)
    assert error.message == "rag-engine: the answer is compressed"


# --- Requests that cannot be sent ---


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(a_request(text="secret \ud800"), id="a lone surrogate"),
        pytest.param(a_request(text="{}, secret"), id="no JSON"),
        pytest.param(a_request(text='{}, "tenant_id": "secret"'), id="more than the input"),
        pytest.param(a_request(text="[" * 5000), id="too deep"),
        pytest.param(a_request(text='"' + "x" * MAX_BYTES + '"'), id="too large"),
        pytest.param(a_request(key="task_ü/1/s/1"), id="a key that is not ASCII"),
        pytest.param(a_request(key=""), id="an empty key"),
    ],
)
async def test_a_request_that_cannot_be_sent_is_poison_and_calls_nobody(
    request_: StepRequest,
) -> None:
    service = ScriptedService(GOOD)
    async with a_server(service) as url, a_client(url) as client:
        with pytest.raises(ServiceError) as caught:
            await client.call(request_)

    assert caught.value.code == "SERVICE_REQUEST_INVALID"
    assert caught.value.failure_class is CallFailure.POISON
    assert "secret" not in caught.value.message
    assert service.calls == []


# --- Deadlines, cancellation, the end ---


async def test_a_hanging_service_is_left_at_the_deadline_and_its_connection_is_closed() -> None:
    service = ScriptedService(hangs)
    async with a_server(service) as url, a_client(url) as client:
        async with asyncio.timeout(SOON_S):
            with pytest.raises(ServiceError) as caught:
                await client.call(a_request(timeout_s=0.3))
            await service.aborted.wait()

    assert (caught.value.code, caught.value.failure_class) == (
        "SERVICE_TIMEOUT",
        CallFailure.TIMEOUT,
    )


async def test_an_answer_that_drips_is_left_at_the_deadline() -> None:
    async def drips(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1000):
            await response.write(b" ")
            await asyncio.sleep(0.02)
        return response

    error = await the_error_of(drips, a_request(timeout_s=0.3))

    assert error.code == "SERVICE_TIMEOUT"


@pytest.mark.parametrize("timeout_s", [0.0, -1.0])
async def test_without_time_left_the_service_is_not_called(timeout_s: float) -> None:
    service = ScriptedService(GOOD)
    async with a_server(service) as url, a_client(url) as client:
        with pytest.raises(ServiceError) as caught:
            await client.call(a_request(timeout_s=timeout_s))

    assert (caught.value.code, service.calls) == ("SERVICE_TIMEOUT", [])


async def test_cancelling_the_caller_aborts_the_call_at_the_service() -> None:
    service = ScriptedService(hangs)
    async with a_server(service) as url, a_client(url) as client:
        call = asyncio.create_task(client.call(a_request(timeout_s=60.0)))
        async with asyncio.timeout(SOON_S):
            await service.called.wait()
            call.cancel()
            await service.aborted.wait()
            with pytest.raises(asyncio.CancelledError):
                await call

    assert call.cancelled()


async def test_a_cancelled_caller_never_sees_a_failure_instead() -> None:
    async with a_server(ScriptedService(GOOD)) as url, a_client(url) as client:
        await client.call(a_request())
        ends: set[str] = set()
        for turns in range(60):
            call = asyncio.create_task(client.call(a_request()))
            for _ in range(turns % 30):  # so that the cancel meets every stage of the call
                await asyncio.sleep(0)
            cancelled = call.cancel()
            await asyncio.wait([call], timeout=SOON_S)
            if cancelled:
                ends.add("cancelled" if call.cancelled() else repr(call.exception()))

    assert ends == {"cancelled"}


async def test_closing_the_client_fails_its_calls_without_cancelling_the_callers() -> None:
    service = ScriptedService(hangs)
    async with a_server(service) as url, a_client(url) as client:
        call = asyncio.create_task(client.call(a_request(timeout_s=60.0)))
        async with asyncio.timeout(SOON_S):
            await service.called.wait()
            await client.close()
            with pytest.raises(ServiceError) as caught:
                await call

    assert (caught.value.code, caught.value.retriable) == ("SERVICE_UNAVAILABLE", True)


async def test_a_closed_client_calls_nobody() -> None:
    service = ScriptedService(GOOD)
    async with a_server(service) as url, a_client(url) as client:
        await client.close()
        with pytest.raises(ServiceError) as caught:
            await client.call(a_request())

    assert (caught.value.code, service.calls) == ("SERVICE_UNAVAILABLE", [])
