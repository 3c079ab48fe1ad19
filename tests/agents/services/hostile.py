"""Replies that no service should give: text, messages, HTTP, and HTTP/2 frames.

Each reply follows from its number alone, so that a failure can be looked at again.
"""

import json
import struct
from collections.abc import Callable
from random import Random
from typing import Any

from schemas.gen.services.v1 import step_service_pb2 as pb

SEED = "hostile replies"
NASTY = (
    "",
    "\0",
    "\\u0000",
    "\\ud800",
    "\u202e\u0007",
    "NaN",
    "-Infinity",
    "1e999",
    "9" * 500,
    "-0",
    "\ufeff{}",
    "{}{}",
    '{"a":1,"a":2}',
    "'x'",
    "<html>",
    "null",
    "é" * 300,
)
COUNTS = (-1, 0, 1, 2**31, 2**53 + 1, 10**15, 10**15 + 1, 2**63 - 1, -(2**63))


def dice(number: int) -> Random:
    return Random(f"{SEED}/{number}")


# --- Documents ---


def a_document(d: Random, max_bytes: int) -> str:
    """Text where JSON is expected."""
    kind = d.randrange(8)
    if kind == 0:
        return d.choice(NASTY)
    if kind == 1:
        depth = d.choice((65, 1000, 20_000))
        return d.choice(("[", '{"a":')) * depth
    if kind == 2:
        return json.dumps("x" * d.choice((1000, max_bytes - 40, max_bytes, 2 * max_bytes)))
    if kind == 3:
        return "".join(chr(d.randrange(0x20, 0x2FF)) for _ in range(d.randrange(60)))
    text = json.dumps(a_value(d, 4))
    if kind == 4 and text:
        place = d.randrange(len(text))
        return text[:place] + d.choice(NASTY) + text[place + d.randrange(3) :]
    return text


def a_value(d: Random, depth: int) -> Any:
    """A JSON value of any type, some of them not JSON at all."""
    kind = d.randrange(9 if depth else 6)
    if kind == 0:
        return d.choice((None, True, False))
    if kind == 1:
        return d.choice((*COUNTS, 10**400, 1.5, float("nan"), float("inf"), -0.0, 5e-324))
    if kind in (2, 3):
        return d.choice(("\0", "\ud800", "ok", "", *NASTY))
    if kind in (4, 5):
        return d.randrange(1000)
    if kind == 6:
        return [a_value(d, depth - 1) for _ in range(d.randrange(4))]
    return {d.choice(("a", "", "\0", "output", "usage")): a_value(d, depth - 1) for _ in range(3)}


def an_http_body(d: Random, max_bytes: int) -> bytes:
    """A body where an answer is expected."""
    if d.random() < 0.2:
        return a_document(d, max_bytes).encode("utf-8", "surrogatepass")
    answer: dict[str, Any] = {"output": a_value(d, 3)}
    for name in ("model", "input_tokens", "output_tokens", "cost_micros", "estimated"):
        if d.random() < 0.4:
            answer.setdefault("usage", {})[name] = d.choice((*COUNTS, a_value(d, 1)))
    if d.random() < 0.3:
        names = ("name", "status", "input", "output", "error", "started_at", "completed_at")
        answer["substeps"] = [
            {name: a_value(d, 2) for name in names if d.random() < 0.7}
            for _ in range(d.randrange(4))
        ]
    if d.random() < 0.2:
        answer[d.choice(("output", "usage", "substeps"))] = a_value(d, 2)
    return mutated(d, json.dumps(answer).encode("utf-8", "surrogatepass"))


def mutated(d: Random, data: bytes) -> bytes:
    """Cut, or with some bytes changed; half of the time as it was."""
    if d.random() < 0.5 or not data:
        return data
    if d.random() < 0.4:
        return data[: d.randrange(len(data))]
    broken = bytearray(data)
    for _ in range(d.randrange(1, 4)):
        broken[d.randrange(len(broken))] = d.randrange(256)
    return bytes(broken)


# --- HTTP/1.1 ---

HEADERS: tuple[Callable[[Random], str], ...] = (
    lambda d: "",
    lambda d: f"Retry-After: {d.choice(('5', '-1', '1e9', '9' * 400, 'Fri, 31 Foo', ''))}\r\n",
    lambda d: "Retry-After: Mon, 01 Jan 99999 00:00:00 GMT\r\n",
    lambda d: f"Content-Encoding: {d.choice(('gzip', 'br', 'x', 'identity'))}\r\n",
    lambda d: f"X-Big: {'x' * d.choice((100, 200_000))}\r\n",
    lambda d: "X-Nul: a\0b\r\n",
    lambda d: "no colon\r\n",
    lambda d: "Content-Length: 3\r\nContent-Length: 4\r\n",
    lambda d: f"Location: {d.choice(('/run', 'gopher://x', 'http://[', '//'))}\r\n",
    lambda d: "Content-Type: text/html; charset=utf-99\r\n",
    lambda d: "Transfer-Encoding: chunked, chunked\r\n",
    lambda d: "Connection: upgrade\r\nUpgrade: h2c\r\n",
)


def an_http_reply(d: Random, max_bytes: int) -> bytes:
    """Everything that is sent on the connection before it is closed."""
    kind = d.randrange(10)
    if kind == 0:
        return d.randbytes(d.randrange(400))
    body = an_http_body(d, max_bytes)
    status = d.choice((200, 200, 200, 200, 201, 204, 304, 307, 400, 404, 429, 500, 503, 599))
    if kind == 1:
        status = d.choice((0, 99, 100, 101, 103, 600, 999, 1000, -1))
    head = f"HTTP/1.{d.choice('1110')} {status} {d.choice(('', 'OK', chr(0xE9)))}\r\n"
    if kind == 2:
        head = d.choice(("HTTP/9.9 200 OK\r\n", "ICY 200\r\n", "HTTP/1.1 abc\r\n", "\r\n\r\n"))
    head += d.choice(HEADERS)(d)
    if kind == 3:
        size = d.choice(("-5", "abc", "1e3", "99999999999999999999", str(len(body) + 9), "0"))
        head += f"Content-Length: {size}\r\n"
    elif kind == 4:
        pieces = [
            f"{len(body):x}\r\n".encode() + body + b"\r\n",
            b"zz\r\n",
            b"-1\r\n",
            b"0\r\n\r\n",
        ]
        chosen = b"".join(d.choices(pieces, k=3))
        return (head + "Transfer-Encoding: chunked\r\n\r\n").encode("latin-1") + chosen
    elif kind != 5:
        head += f"Content-Length: {len(body)}\r\n"
    whole = (head + "\r\n").encode("latin-1") + body
    return whole[: d.randrange(len(whole) + 1)] if kind == 6 else whole


# --- gRPC messages ---


def a_message(d: Random, max_bytes: int) -> bytes:
    """Bytes where a ``RunResponse`` is expected."""
    if d.random() < 0.15:
        return d.randbytes(d.randrange(200))
    response = pb.RunResponse(output=sendable(a_document(d, max_bytes)))
    if d.random() < 0.5:
        response.usage.CopyFrom(a_usage(d))
    for _ in range(d.choice((0, 0, 1, 3))):
        substep = response.substeps.add()
        substep.name, substep.status = sendable(d.choice(NASTY)), sendable(d.choice(NASTY))
        substep.output = sendable(a_document(d, 2000))
        substep.started_at, substep.completed_at = d.choice(COUNTS), d.choice(COUNTS)
        substep.error.code = substep.error.category = d.choice(("user", "", "\0", "X" * 999))
        substep.usage.CopyFrom(a_usage(d))
    return mutated(d, response.SerializeToString())


def an_event(d: Random, max_bytes: int) -> bytes:
    """Bytes where a ``RunEvent`` is expected."""
    kind = d.randrange(4)
    if kind == 0:
        return a_message(d, max_bytes)
    if kind == 1:
        return pb.RunEvent(chunk=sendable(a_document(d, max_bytes))).SerializeToString()
    try:
        response = pb.RunResponse.FromString(a_message(d, max_bytes))
    except Exception:  # a message that is broken, which is what was wanted
        return b"\x12\xff"
    return pb.RunEvent(response=response).SerializeToString()


def a_usage(d: Random) -> pb.Usage:
    return pb.Usage(
        model=sendable(d.choice(NASTY)),
        input_tokens=d.choice(COUNTS),
        output_tokens=d.choice(COUNTS),
        cost_micros=d.choice(COUNTS),
    )


def sendable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def some_trailers(d: Random) -> tuple[tuple[str, str | bytes], ...]:
    values = ("", "x", "9" * 400, "-1", "A" * 64, "A" * 65, "TOO_BAD", "1.5", " 5")
    names = ("error-code", "retry-after-ms", "x-other", "grpc-previous-rpc-attempts")
    trailers: list[tuple[str, str | bytes]] = [
        (d.choice(names), d.choice(values)) for _ in range(d.randrange(4))
    ]
    return (*trailers, ("blob-bin", d.randbytes(9)))


# --- HTTP/2 frames, for what no gRPC library would send ---

DATA, HEADERS_FRAME, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, END_HEADERS = 1, 4
# All but GOAWAY, whose codes are chosen below: one above 12 aborts the whole process inside of
# grpcio (1.85.1 and 1.85.3: http2_status.h, "UNREACHABLE CODE"). docs/services.md says so.
FRAME_KINDS = (0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11)


def a_frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def a_header_block(headers: list[tuple[bytes, bytes]]) -> bytes:
    """HPACK, all literals without indexing (RFC 7541, 6.2.2); up to 126 bytes each."""
    return b"".join(
        b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in headers
    )


def some_frames(d: Random, stream: int, max_bytes: int) -> bytes:
    """What is sent when a request has arrived."""
    kind = d.randrange(8)
    if kind == 0:
        return d.randbytes(d.randrange(300))
    if kind == 1:
        return b"".join(
            a_frame(
                d.choice(FRAME_KINDS),
                d.randrange(256),
                d.choice((0, stream, 2, 99)),
                d.randbytes(9),
            )
            for _ in range(4)
        )
    if kind == 2:
        return a_frame(RST_STREAM, 0, stream, struct.pack(">I", d.choice((0, 1, 7, 8, 11, 999))))
    if kind == 3:
        return a_frame(GOAWAY, 0, 0, struct.pack(">II", d.choice((0, stream)), d.randrange(13)))
    status = b"200" if kind < 7 else d.choice((b"404", b"500", b"302", b"999", b"abc", b""))
    kinds = (b"application/grpc", b"application/grpc+json", b"text/html", b"")
    head = [(b":status", status), (b"content-type", d.choice(kinds))]
    if d.random() < 0.2:
        head.append((b"grpc-encoding", d.choice((b"gzip", b"deflate", b"magic"))))
    trailers = [
        (b"grpc-status", d.choice((b"0", b"0", b"2", b"99", b"-1", b"abc", b"", b"9" * 30))),
        (b"grpc-message", d.choice((b"", b"%FF%00%", b"\xff\xfe", b"%E4%BD"))),
        (b"retry-after-ms", d.choice((b"", b"5", b"-5", b"9" * 99))),
    ]
    message = a_message(d, max_bytes)[:16_000]
    length = d.choice((len(message), len(message), len(message) + 9, 0, 2**32 - 1))
    framed = struct.pack(">BI", d.choice((0, 0, 0, 1, 7)), length) + message
    sent = [
        a_frame(HEADERS_FRAME, END_HEADERS, stream, a_header_block(head)),
        a_frame(DATA, 0, stream, framed),
        a_frame(
            HEADERS_FRAME, END_HEADERS | END_STREAM, stream, a_header_block(d.sample(trailers, 2))
        ),
    ]
    return b"".join(sent[: d.randrange(1, 4)] if kind == 4 else sent)
