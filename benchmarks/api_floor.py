"""The floors of benchmarks/api.py and streaming.py: gRPC and Kafka without any of our service.

``echo``: a bare grpc.aio server that awaits one produce and sends the request back.
``mirror``: one that sends the request back at once.
``fanout``: servers that pass each record of a topic on to all streams that were opened for its
key, over gRPC and as server-sent events.
``hops``: three relays, so that a record makes four hops; each reads, and writes on.
"""

import asyncio
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from typing import Any

import grpc
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from schemas.codec import decode
from schemas.records import StreamChunk

TOPICS = tuple(f"floor-hop-{number}" for number in range(4))
ECHO_TOPIC = "floor-echo"
METHOD = "/floor.Echo/Echo"
WATCH = "/floor.Echo/Watch"


async def echo(bootstrap: str, port: int) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True
    ) as producer:

        async def answer(request: bytes, _context: Any) -> bytes:
            await producer.send_and_wait(ECHO_TOPIC, request)
            return request

        await serve(answer, port)


async def mirror(port: int) -> None:
    async def answer(request: bytes, _context: Any) -> bytes:
        return request

    await serve(answer, port)


async def serve(answer: Callable[[bytes, Any], Awaitable[bytes]], port: int) -> None:
    handler: Any = grpc.unary_unary_rpc_method_handler(answer)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("floor.Echo", {"Echo": handler})]
    )
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


async def fanout(bootstrap: str, topic: str, grpc_port: int, http_port: int) -> None:
    streams: dict[bytes, set[asyncio.Queue[bytes]]] = defaultdict(set)

    async def watch(request: bytes, _context: Any) -> AsyncIterator[bytes]:
        queue = asyncio.Queue[bytes]()
        streams[request].add(queue)
        try:
            yield b""
            while True:
                yield await queue.get()
        finally:
            streams[request].discard(queue)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        async for text in watch(path[1:], None):
            writer.write(b"data: %s\n\n" % text if text else b": open\n\n")
            await writer.drain()

    handler: Any = grpc.unary_stream_rpc_method_handler(watch)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("floor.Echo", {"Watch": handler})]
    )
    server.add_insecure_port(f"127.0.0.1:{grpc_port}")
    await server.start()
    async with (
        await asyncio.start_server(answer, "127.0.0.1", http_port),
        AIOKafkaConsumer(topic, bootstrap_servers=bootstrap) as consumer,
    ):
        async for record in consumer:
            text = decode(record.value, StreamChunk).data.encode()
            for queue in streams[record.key]:
                queue.put_nowait(text)


async def hops(bootstrap: str) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=True
    ) as producer:

        async def relay(source: str, target: str) -> None:
            async with AIOKafkaConsumer(
                source, bootstrap_servers=bootstrap, auto_offset_reset="earliest"
            ) as consumer:
                async for record in consumer:
                    await producer.send_and_wait(target, record.value)

        await asyncio.gather(*(relay(source, target) for source, target in pairwise(TOPICS)))


if __name__ == "__main__":
    kind, *given = sys.argv[1:]
    if kind == "echo":
        asyncio.run(echo(given[0], int(given[1])))
    elif kind == "mirror":
        asyncio.run(mirror(int(given[0])))
    elif kind == "fanout":
        # The service has this loop, too.
        uvloop.run(fanout(given[0], given[1], int(given[2]), int(given[3])))
    else:
        asyncio.run(hops(given[0]))
