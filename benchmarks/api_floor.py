"""The floors of benchmarks/api.py: what gRPC and Kafka cost without any of our service.

``echo``: a bare grpc.aio server that awaits one produce and sends the request back.
``mirror``: one that sends the request back at once.
``hops``: three relays, so that a record makes four hops; each reads, and writes on.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import grpc
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

TOPICS = tuple(f"floor-hop-{number}" for number in range(4))
ECHO_TOPIC = "floor-echo"
METHOD = "/floor.Echo/Echo"


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
    else:
        asyncio.run(hops(given[0]))
