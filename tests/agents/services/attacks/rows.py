"""The attacks: what a server writes to a call over HTTP/1.1, and over HTTP/2, and how it may end.

Each row has a name that completes "when …". After the attacked call two more are made, which
must get their own answers.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.agents.services import hostile
from tests.agents.services.attacks.wire import Asked, Script, block, frame, framed

ANSWERED, AGAIN, NEVER = "answered", "again", "never"
"""The call got its own answer; failed, and may be tried again; failed for good."""

ENDLESS_INTERIM = "interim responses never end"

SHORT_S = 0.3
"""The bound of a call that ends by its time only."""
LONG_S = 20.0


@dataclass(frozen=True)
class Attack:
    """A row."""

    name: str
    h1: Script | None
    h2: Script | None
    ends: tuple[str, ...]
    h2_ends: tuple[str, ...] | None = None
    """None: the same."""
    timeout_s: float = LONG_S
    early: bool = False
    """Before the request has been read; it is large."""
    cancelled: bool = False
    """The call is cancelled when it has arrived."""
    tls: bool = False


def writes(*makers: Callable[[Asked], bytes], end: str = "") -> Script:
    """A script that writes bytes, and then ends the connection: by ``cut`` or ``vanish``."""

    async def script(asked: Asked) -> None:
        for make in makers:
            await asked.send(make(asked))
        if end:
            getattr(asked, end)()

    return script


def floods(make: Callable[[Asked], bytes], *before: Callable[[Asked], bytes]) -> Script:
    """A script that never stops writing."""

    async def script(asked: Asked) -> None:
        for first in before:
            await asked.send(first(asked))
        await asked.flood(make(asked))

    return script


def waits(*before: Callable[[Asked], bytes], after: Callable[[Asked], bytes] | None) -> Script:
    """A script that says something only when the call has ended, or nothing."""

    async def script(asked: Asked) -> None:
        for first in before:
            await asked.send(first(asked))
        await asked.silence()
        if after is not None:
            await asked.send(after(asked))

    return script


def drips(make: Callable[[Asked], bytes], *before: Callable[[Asked], bytes]) -> Script:
    """A script that writes one byte now and then, and never comes to an end."""
    return floods(lambda asked: make(asked)[:1], *before)


def hints(asked: Asked) -> bytes:
    """Interim responses."""
    return b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 50


def h2_hints(asked: Asked) -> bytes:
    """Interim responses."""
    return asked.head(status=b"103") * 50


def endless_head(asked: Asked) -> bytes:
    """A HEADERS frame whose block goes on."""
    return frame(hostile.HEADERS_FRAME, 0, asked.stream, block((b":status", b"200")))


def continuation(asked: Asked) -> bytes:
    """One more part of a block."""
    return frame(9, 0, asked.stream, block(*[(b"x-a", b"b" * 120)] * 50))


def bomb(asked: Asked) -> bytes:
    """A compressed answer of 64 MiB that is a few kilobytes on the wire."""
    packed = gzip.compress(b" " * (64 << 20) + asked.body, 9)
    length = b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed)
    return asked.start + length + packed


def large_message(asked: Asked) -> bytes:
    """The beginning of a message above the limit."""
    return asked.head() + asked.data(framed(b"x" * 100, 9 << 20))


def attacks() -> Iterable[Attack]:
    """All rows."""
    yield Attack("nothing is wrong", writes(lambda a: a.right), writes(Asked.whole), (ANSWERED,))
    yield from _answers_of_others()
    yield from _interim()
    yield from _cut()
    yield from _endless()
    yield from _silent()
    yield from _odd()


def _answers_of_others() -> Iterable[Attack]:
    yield Attack(
        "the answer comes twice",
        writes(lambda a: a.right * 2),
        writes(lambda a: a.whole() * 2),
        (ANSWERED,),
    )
    yield Attack(
        "bytes come behind the answer",
        writes(lambda a: a.right + b"\n\n{}"),
        writes(lambda a: a.whole() + a.data(framed(a.content.answer("t99")))),
        (ANSWERED,),
    )
    yield Attack(
        "the answer to another call comes behind the answer",
        writes(lambda a: a.right + a.named("t99")),
        writes(lambda a: a.whole() + _on(a, a.stream + 2, "t99")),
        (ANSWERED,),
        # A stream that the client has not opened yet: an error of the whole connection.
        h2_ends=(ANSWERED, AGAIN),
    )
    yield Attack(
        "an answer comes before the request was read",
        writes(lambda a: a.named("t0")),
        writes(lambda a: a.whole("t0") + a.reset(0)),
        # The words belong to this call, whatever they are.
        (ANSWERED, AGAIN),
        early=True,
        timeout_s=5.0,
    )
    yield Attack(
        "an answer comes before the request was read, and the connection ends",
        writes(lambda a: a.named("t0"), end="vanish"),
        writes(lambda a: a.whole("t0"), end="vanish"),
        (ANSWERED, AGAIN),
        early=True,
        timeout_s=5.0,
    )
    yield Attack(
        "an answer comes while nobody asks",
        _then(lambda a: a.right, lambda a: a.named("t99")),
        _then(Asked.whole, lambda a: a.whole("t99")),
        (ANSWERED,),
    )
    yield Attack(
        "the answer comes after the call ran out of time",
        waits(after=lambda a: a.right),
        waits(after=Asked.whole),
        (AGAIN,),
        timeout_s=SHORT_S,
    )
    yield Attack(
        "the answer comes after the call was cancelled",
        waits(after=lambda a: a.right),
        waits(after=Asked.whole),
        (),
        cancelled=True,
    )
    yield Attack(
        "the rest of the answer comes after the call was cancelled",
        waits(
            lambda a: a.start + b"content-length: %d\r\n\r\n" % len(a.body) + a.half,
            after=lambda a: a.body[len(a.half) :],
        ),
        waits(Asked.head, after=lambda a: a.data(framed(a.content.answer(a.name))) + a.trailers()),
        (),
        cancelled=True,
    )


def _interim() -> Iterable[Attack]:
    yield Attack(
        "interim responses come first",
        writes(hints, lambda a: a.right),
        writes(h2_hints, Asked.whole),
        (ANSWERED,),
        h2_ends=(ANSWERED, AGAIN),
    )
    yield Attack(ENDLESS_INTERIM, floods(hints), floods(h2_hints), (AGAIN,), timeout_s=SHORT_S)
    yield Attack(
        "an interim response comes behind the answer",
        writes(lambda a: a.right + b"HTTP/1.1 100 Continue\r\n\r\n"),
        writes(lambda a: a.whole() + a.head(status=b"100")),
        (ANSWERED,),
    )
    yield Attack(
        "the protocol is switched",
        writes(lambda a: b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n" + a.right),
        writes(lambda a: a.head(status=b"101") + a.whole()),
        (AGAIN, NEVER),
        h2_ends=(ANSWERED, AGAIN),
    )


def _cut() -> Iterable[Attack]:
    half = b"content-length: %d\r\n\r\n"
    yield Attack(
        "the connection ends in the head",
        writes(lambda a: a.start, end="cut"),
        writes(lambda a: a.head()[:12], end="cut"),
        (AGAIN,),
    )
    yield Attack(
        "the answer is shorter than its length",
        writes(lambda a: a.start + half % len(a.body) + a.half, end="cut"),
        writes(lambda a: a.head() + a.data(framed(b"a", 9)) + a.trailers()),
        (AGAIN,),
        # The server says that it was all: that is no break.
        h2_ends=(AGAIN, NEVER),
    )
    yield Attack(
        "the last chunk does not come",
        writes(lambda a: a.chunked(), end="cut"),
        writes(lambda a: a.head() + a.data(framed(a.content.answer(a.name))), end="cut"),
        # A stream of a model says by itself that it is whole.
        (AGAIN, ANSWERED),
        h2_ends=(AGAIN,),
    )
    yield Attack(
        "a chunk is cut off",
        writes(lambda a: a.chunked()[:-9], end="cut"),
        writes(lambda a: a.head() + a.data(framed(a.content.answer(a.name)))[:-3], end="cut"),
        (AGAIN,),
    )
    yield Attack(
        "the connection ends in an answer without a length",
        writes(lambda a: a.start + b"connection: close\r\n\r\n" + a.half, end="cut"),
        None,
        (AGAIN,),
    )
    yield Attack(
        "the connection is reset in the answer",
        writes(lambda a: a.start + half % len(a.body) + a.half, end="vanish"),
        writes(Asked.head, end="vanish"),
        (AGAIN,),
    )
    yield Attack(
        "the connection is reset in place of an answer",
        writes(end="vanish"),
        writes(end="vanish"),
        (AGAIN,),
    )
    for code, words in ((0, "no error"), (1, "a fault"), (7, "a refusal"), (8, "a cancel")):
        yield Attack(
            f"the stream is reset with {words} in the answer",
            None,
            writes(lambda a, code=code: a.head() + a.reset(code)),  # type: ignore[misc]
            (AGAIN,),
        )
    yield Attack(
        "the connection is given up in the answer",
        None,
        writes(lambda a: a.head() + a.goaway(0, 2), end="cut"),
        (AGAIN,),
    )
    yield Attack(
        "the connection is to be left before the answer",
        writes(lambda a: a.right.replace(b"OK\r\n", b"OK\r\nconnection: close\r\n"), end="cut"),
        writes(lambda a: a.goaway(a.stream) + a.whole()),
        (ANSWERED,),
    )
    yield Attack(
        "the connection is to be left, and is kept",
        writes(lambda a: a.right.replace(b"OK\r\n", b"OK\r\nconnection: close\r\n")),
        writes(lambda a: a.whole() + a.goaway(a.stream)),
        (ANSWERED,),
    )
    yield Attack(
        "TLS ends in the answer without a word",
        writes(lambda a: a.start + half % len(a.body) + a.half, end="cut"),
        writes(Asked.head, end="cut"),
        (AGAIN,),
        tls=True,
    )
    yield Attack(
        "TLS ends without a word in an answer without a length",
        writes(lambda a: a.start + b"connection: close\r\n\r\n" + a.half, end="cut"),
        None,
        (AGAIN,),
        tls=True,
    )


def _endless() -> Iterable[Attack]:
    yield Attack(
        "the head never ends",
        floods(lambda _: b"x-a: " + b"b" * 1000 + b"\r\n", lambda a: a.start),
        floods(continuation, endless_head),
        (AGAIN,),
        timeout_s=SHORT_S,
    )
    yield Attack(
        "chunks never end",
        floods(lambda a: b"4000\r\n" + b" " * 0x4000 + b"\r\n", lambda a: a.chunked(b" ")),
        writes(large_message),
        (NEVER,),
    )
    yield Attack(
        "an answer without a length never ends",
        floods(lambda a: b" " * 0x4000, lambda a: a.start + b"\r\n"),
        None,
        (NEVER,),
    )
    yield Attack(
        "a failure never ends",
        floods(
            lambda a: b" " * 0x4000,
            lambda a: a.start.replace(b"200 OK", b"503 No") + b"\r\n",
        ),
        None,
        (AGAIN,),
    )
    yield Attack(
        "the answer is a compressed bomb",
        writes(bomb),
        None,
        (NEVER,),
    )


def _silent() -> Iterable[Attack]:
    yield Attack(
        "the server says nothing", waits(after=None), waits(after=None), (AGAIN,), timeout_s=SHORT_S
    )
    yield Attack(
        "the server stops in the head",
        waits(lambda a: a.start, after=None),
        waits(Asked.head, after=None),
        (AGAIN,),
        timeout_s=SHORT_S,
    )
    yield Attack(
        "the server stops in the answer",
        waits(lambda a: a.chunked(a.half), after=None),
        waits(lambda a: a.head() + a.data(framed(b"a", 9)), after=None),
        (AGAIN,),
        timeout_s=SHORT_S,
    )
    yield Attack(
        "the server does not read the request",
        waits(after=None),
        waits(after=None),
        (AGAIN,),
        early=True,
        timeout_s=SHORT_S,
    )
    yield Attack(
        "one byte comes at a time",
        drips(lambda a: b" ", lambda a: a.start + b"content-length: 9999999\r\n\r\n"),
        drips(lambda a: b"", lambda a: a.head() + a.data(b"\0")),
        (AGAIN,),
        timeout_s=SHORT_S,
    )


def _odd() -> Iterable[Attack]:
    yield Attack("the answer is not HTTP", writes(lambda a: b"SSH-2.0-x\r\n\r\n"), None, (AGAIN,))
    yield Attack(
        "the answer is another protocol's",
        writes(lambda a: frame(hostile.SETTINGS, 0, 0, b"") + b"\r\n\r\n"),
        writes(lambda a: b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"),
        (AGAIN,),
    )
    yield Attack(
        "the size of a chunk is no number",
        writes(lambda a: a.start + b"transfer-encoding: chunked\r\n\r\n-1\r\n" + a.body),
        None,
        (AGAIN,),
    )
    yield Attack(
        "the answer has two lengths",
        writes(lambda a: a.start + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{} "),
        None,
        (AGAIN,),
    )
    yield Attack(
        "the answer has a length and chunks",
        writes(
            lambda a: a.chunked().replace(b"OK\r\n", b"OK\r\ncontent-length: 2\r\n") + b"0\r\n\r\n"
        ),
        None,
        (ANSWERED, AGAIN),
    )
    yield Attack(
        "the answer says that it lies elsewhere",
        writes(
            lambda a: a.right.replace(b"200 OK\r\n", b"307 X\r\nlocation: http://127.0.0.1:9/\r\n")
        ),
        writes(lambda a: a.head(status=b"307") + a.trailers()),
        (NEVER,),
        h2_ends=(AGAIN, NEVER),
    )
    yield Attack(
        "the answer is another one's message",
        writes(lambda a: a.start + b"content-length: 9\r\n\r\n[1, 2, 3]"),
        writes(lambda a: a.head() + a.data(framed(b"\xff\xff")) + a.trailers()),
        (NEVER, AGAIN),
    )


def _then(first: Callable[[Asked], bytes], later: Callable[[Asked], bytes]) -> Script:
    return waits(first, after=later)


def _on(asked: Asked, stream: int, name: str) -> bytes:
    """A whole answer on another stream."""
    mine, asked.stream = asked.stream, stream
    try:
        return asked.whole(name)
    finally:
        asked.stream = mine
