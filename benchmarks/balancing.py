"""What least outstanding gives when one of three instances is slow, beside round robin.

Three real gRPC servers answer after a time of their own, one of them slowly. The same load goes
through a balanced client with each rule, in turns so that a slow machine hits both; the program
prints the percentiles of the calls, and the share of the slow instance.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc

from agents.services.balancing.choice import Choice, fewer_of_two
from agents.services.balancing.client import BalancedStepClient
from agents.services.client import StepClient, StepRequest
from agents.services.discovery.endpoint import Endpoint
from agents.services.discovery.static_list import StaticEndpoints
from agents.services.grpc_client import GrpcStepClient
from benchmarks.harness.machine import print_machine
from schemas.gen.services.v1 import step_service_pb2 as pb
from schemas.gen.services.v1 import step_service_pb2_grpc as pb_grpc
from schemas.records import CommandId, Json, StepName, TaskId

FAST_S, SLOW_S = 0.01, 0.3
MAX_BYTES = 64 * 1024
ROUNDS = 3


class _Instance(pb_grpc.StepServiceServicer):
    def __init__(self, takes_s: float) -> None:
        self._takes_s = takes_s
        self.calls = 0

    async def Run(  # noqa: N802
        self,
        request: pb.RunRequest,
        context: grpc.aio.ServicerContext[pb.RunRequest, pb.RunResponse],
    ) -> pb.RunResponse:
        self.calls += 1
        await asyncio.sleep(self._takes_s)
        return pb.RunResponse(output="{}")


def round_robin() -> Choice:
    """One after the other, whatever their calls."""
    turn = itertools.count()
    return lambda calls, _first, _second: next(turn) % len(calls)


RULES = {"least outstanding of two": lambda: fewer_of_two, "round robin": round_robin}


async def main(calls: int, at_once: int) -> dict[str, float]:
    """The part of the calls that the slow instance got, for each rule."""
    print_machine()
    print(
        f"{calls} calls, {at_once} at once, three instances: {FAST_S * 1000:.0f}, "
        f"{FAST_S * 1000:.0f} and {SLOW_S * 1000:.0f} ms; {ROUNDS} rounds\n"
    )
    took: dict[str, list[float]] = {name: [] for name in RULES}
    slow: dict[str, int] = dict.fromkeys(RULES, 0)
    for _ in range(ROUNDS):
        for name, rule in RULES.items():
            async with _instances() as (servers, endpoints):
                took[name] += await _load(endpoints, rule(), calls, at_once)
                slow[name] += servers[-1].calls
    print(f"{'':26}{'p50':>9}{'p95':>9}{'p99':>9}{'of the slow one':>18}")
    for name, times in took.items():
        shown = "".join(f"{_percentile(times, p) * 1000:>6.0f} ms" for p in (50, 95, 99))
        print(f"{name:26}{shown}{slow[name] / len(times):>17.1%}")
    return {name: slow[name] / len(times) for name, times in took.items()}


@asynccontextmanager
async def _instances() -> AsyncIterator[tuple[list[_Instance], list[Endpoint]]]:
    services = [
        _Instance(takes_s)  # type: ignore[abstract]  # it does not stream
        for takes_s in (FAST_S, FAST_S, SLOW_S)
    ]
    servers = [grpc.aio.server() for _ in services]
    endpoints = []
    for server, service in zip(servers, services, strict=True):
        pb_grpc.add_StepServiceServicer_to_server(service, server)
        endpoints.append(Endpoint("127.0.0.1", server.add_insecure_port("127.0.0.1:0")))
        await server.start()
    try:
        yield services, endpoints
    finally:
        for server in servers:
            await server.stop(None)


async def _load(
    endpoints: Sequence[Endpoint], choice: Choice, calls: int, at_once: int
) -> list[float]:
    def make(endpoint: Endpoint) -> StepClient:
        return GrpcStepClient(endpoint.authority, service="poet", max_message_bytes=MAX_BYTES)

    client = BalancedStepClient(StaticEndpoints(endpoints), make, service="poet", choice=choice)
    left, took = iter(range(calls)), list[float]()

    async def caller() -> None:
        for number in left:
            began_s = time.perf_counter()
            await client.call(_request(number))
            took.append(time.perf_counter() - began_s)

    try:
        for _ in endpoints:  # connect
            await client.call(_request(0))
        async with asyncio.TaskGroup() as callers:
            for _ in range(at_once):
                callers.create_task(caller())
    finally:
        await client.close()
    return took


def _request(number: int) -> StepRequest:
    return StepRequest(
        method="Generate",
        input=Json("{}"),
        task_id=TaskId(f"task_{number}"),
        run=1,
        step=StepName("generate"),
        attempt=1,
        tenant_id="acme",
        idempotency_key=CommandId(f"task_{number}/1/generate/1"),
        timeout_s=30.0,
    )


def _percentile(times: Sequence[float], percent: int) -> float:
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--at-once", type=int, default=16)
    given = parser.parse_args()
    asyncio.run(main(given.calls, given.at_once))
