"""What a stranger's web page sends to a service without keys on this machine. No servers."""

from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestrator.api.access.browsers import BrowserRules, listed
from orchestrator.api.access.refusal_log import RefusalLog
from orchestrator.api.http.gate import Gate
from tests.logged import logged

OPEN = BrowserRules(open=True)
KEYED = BrowserRules(open=False)


class Behind:
    """Counts what passes the gate."""

    def __init__(self) -> None:
        self.passed: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.passed.append(scope["path"])
        await PlainTextResponse("inside")(scope, receive, send)


async def asked(
    rules: BrowserRules, method: str = "GET", path: str = "/api/v1/tasks", **headers: str
) -> tuple[httpx.Response, list[str]]:
    behind = Behind()
    gate: ASGIApp = Gate(behind, rules, RefusalLog())
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    transport = httpx.ASGITransport(gate)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        return await client.request(method, path, headers=given), behind.passed


def code_of(answer: httpx.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.json()["code"] if answer.status_code != 200 else None


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:1", "127.8.8.8", "[::1]", "[::1]:8000"],
)
async def test_a_name_of_this_machine_is_answered(host: str) -> None:
    answer, _ = await asked(OPEN, host=host)

    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/api/v1/tasks", "/healthz", "/openapi.json", "/subjects"])
@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example"),
        *("", "localhost:8000:8000", "localhost.", "10.0.0.1", "0.0.0.0", "[::2]:8000", "::x"),
    ],
)
async def test_a_name_that_was_bound_to_this_machine_is_refused(host: str, path: str) -> None:
    answer, passed = await asked(OPEN, path=path, host=host)

    assert code_of(answer) == (403, "HOST_REFUSED")
    assert passed == []


async def test_a_host_that_is_allowed_is_answered_with_and_without_a_port() -> None:
    rules = BrowserRules(open=True, hosts=listed("Box.local, other:81"))

    for host, status in {
        "box.local": 200,
        "box.local:9": 200,
        "other:81": 200,
        "other": 403,
    }.items():
        assert (await asked(rules, host=host))[0].status_code == status


async def test_two_hosts_are_refused() -> None:
    twice = [(b"host", b"localhost"), (b"host", b"evil.example")]

    assert await refused_handshake(OPEN, twice, kind="http") == "HOST_REFUSED"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:3000"},
        {"origin": "http://localhost:8000.evil.example"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
async def test_a_foreign_page_releases_no_held_task(headers: dict[str, str]) -> None:
    answer, passed = await asked(OPEN, "POST", "/api/v1/tasks:executePending", **headers)

    assert code_of(answer) == (403, "ORIGIN_REFUSED")
    assert passed == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://127.0.0.1:8000", "sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "none"},
    ],
)
async def test_programs_and_pages_of_the_service_itself_may_act(headers: dict[str, str]) -> None:
    assert (await asked(OPEN, "POST", **headers))[0].status_code == 200


async def test_an_origin_that_is_allowed_may_act() -> None:
    rules = BrowserRules(open=True, origins=listed("https://Console.example"))
    page = {"origin": "https://console.example", "sec_fetch_site": "cross-site"}

    assert (await asked(rules, "POST", **page))[0].status_code == 200


async def test_with_keys_neither_host_nor_origin_of_a_request_is_looked_at() -> None:
    answer, _ = await asked(KEYED, "POST", host="api.example", origin="https://evil.example")

    assert answer.status_code == 200


@pytest.mark.parametrize("rules", [OPEN, KEYED], ids=["open", "with keys"])
async def test_a_foreign_page_opens_no_websocket(rules: BrowserRules) -> None:
    own = [(b"host", b"127.0.0.1:8000"), (b"origin", b"http://127.0.0.1:8000")]
    foreign = [(b"host", b"127.0.0.1:8000"), (b"origin", b"https://evil.example")]

    assert await refused_handshake(rules, foreign) == "ORIGIN_REFUSED"
    assert await refused_handshake(rules, own) is None


async def test_every_answer_is_kept_out_of_caches_and_is_no_page() -> None:
    for answer, _ in (await asked(OPEN), await asked(OPEN, host="evil.example")):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_many_refusals_are_one_line_of_the_log() -> None:
    now = 0.0
    refused = RefusalLog(clock=lambda: now)
    error = OPEN.refusal("GET", ["evil.example"], {})
    assert error is not None
    with logged("orchestrator.api.access.refusal_log.log") as lines:
        for _ in range(1_000):
            refused.note(error, transport="http")
        now = 11.0
        refused.note(error, transport="http")

    assert [(line["code"], line["left_out"]) for line in lines] == [
        ("HOST_REFUSED", 0),
        ("HOST_REFUSED", 999),
    ]


async def refused_handshake(
    rules: BrowserRules, headers: list[tuple[bytes, bytes]], kind: str = "websocket"
) -> str | None:
    """The code that a handshake is refused with; None: it passes."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    async def behind(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})

    scope: Scope = {"type": kind, "headers": headers, "path": "/api/v1/ws", "method": "GET"}
    if kind == "websocket":
        scope = {name: value for name, value in scope.items() if name != "method"}
        scope["extensions"] = {"websocket.http.response": {}}
    await Gate(behind, rules, RefusalLog())(scope, receive, send)
    if sent[0]["type"] == "websocket.accept":
        return None
    assert sent[0]["status"] == 403
    code: str = httpx.Response(403, content=sent[1]["body"]).json()["code"]
    return code
