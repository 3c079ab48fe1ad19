"""What a process does when its schema registry answers wrongly, or not at all."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from schemas.codec import adopt_ids, decode, encode
from schemas.errors import SchemaUnknownError
from schemas.records import Control, ControlKind, Millis, TaskId
from schemas.registry import load_versions
from schemas.topics import Topics
from streams.errors import SchemaRegistryError
from streams.schema_registry import registered_text, use_registry
from streams.settings import SchemasSettings

TABLE = Topics().table([])
CONTROL = Control(kind=ControlKind.CANCEL, task_id=TaskId("t"), at=Millis(1))


@pytest.fixture(autouse=True)
async def _our_own_ids_again() -> AsyncIterator[None]:
    yield
    adopt_ids({})


@asynccontextmanager
async def a_server(answer: bytes | None) -> AsyncIterator[SchemasSettings]:
    """A server that gives one answer to everything, or none."""

    async def serve(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while await source.read(65_536):
            if answer is not None:
                target.write(answer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield SchemasSettings(
        registry_url=f"http://user:secret@127.0.0.1:{port}/api", registry_timeout_s=1.0
    )
    server.close()


def an_answer(status: str, body: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status.encode(), len(body), body)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "did not answer in time|does not answer"),
        (an_answer("409 Conflict", b'{"message":"incompatible"}'), "409.*incompatible"),
        (an_answer("200 OK", b"<html>"), "not JSON"),
        (an_answer("200 OK", b'{"id":"x"}'), "no schema id"),
        (an_answer("200 OK", b"[]"), "no schema id"),
        (b"garbage\r\n\r\n", "does not answer"),
    ],
    ids=["silence", "refusal", "no JSON", "no number", "no object", "no HTTP"],
)
async def test_a_registry_without_a_proper_answer_stops_the_start_within_its_bound(
    answer: bytes | None, reason: str
) -> None:
    before = encode(CONTROL)
    async with a_server(answer) as settings, asyncio.timeout(30):
        with pytest.raises(SchemaRegistryError, match=reason) as raised:
            await use_registry(settings, TABLE)

    assert "secret" not in str(raised.value)
    assert encode(CONTROL) == before


async def test_a_registry_that_is_not_there_stops_the_start() -> None:
    with pytest.raises(SchemaRegistryError, match="does not answer"):
        await use_registry(SchemasSettings(registry_url="http://127.0.0.1:1"), TABLE)


async def test_without_a_registry_our_own_ids_are_written() -> None:
    await use_registry(SchemasSettings(), TABLE)

    assert encode(CONTROL)[:5] == b"\x00\x00\x00\x00\xa1"


def test_adopted_ids_are_written_and_our_own_still_read() -> None:
    ours = encode(CONTROL)
    adopt_ids({("Control", 1): 7})
    theirs = encode(CONTROL)

    assert theirs == b"\x00\x00\x00\x00\x07" + ours[5:]
    assert decode(theirs, Control) == decode(ours, Control) == CONTROL


def test_an_adopted_id_of_another_record_is_no_id_of_this_one() -> None:
    ours = encode(CONTROL)
    adopt_ids({("TaskCreated", 1): 161})

    assert decode(ours, Control) == CONTROL
    with pytest.raises(SchemaUnknownError):
        decode(b"\x00\x00\x00\x00\x65" + ours[5:], Control)


def test_a_schema_is_registered_as_it_is_but_for_the_form_of_an_empty_json_object() -> None:
    for version in load_versions():
        text = registered_text(version)

        assert '"{}"' not in text
        assert json.loads(text.replace('"{ }"', '"{}"')) == version.schema


async def test_an_answer_that_comes_twice_is_not_the_id_of_another_schema() -> None:
    given: dict[str, int] = {}

    async def serve(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await source.readuntil(b"\r\n\r\n")).lower()
                size = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
                schema = json.loads(await source.readexactly(size))["schema"]
                number = given.setdefault(json.loads(schema)["name"], 70_000 + len(given))
                target.write(2 * an_answer("200 OK", b'{"id": %d}' % number))
        target.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        await use_registry(SchemasSettings(registry_url=f"http://127.0.0.1:{port}"), TABLE)

    assert encode(CONTROL)[1:5] == given["Control"].to_bytes(4)
    assert len(given) > 1
