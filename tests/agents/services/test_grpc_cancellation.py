"""Calls that are given up, and clients that are closed, over gRPC."""

import asyncio

import pytest

from agents.services.failure import ServiceError
from tests.agents.services.test_grpc_client import (
    SOON_S,
    ScriptedService,
    a_client,
    a_request,
    a_server,
    answers,
    hangs,
    the_error_of,
)


async def test_cancelling_the_caller_aborts_the_call_at_the_service() -> None:
    service = ScriptedService(hangs)
    async with a_server(service) as port, a_client(port) as client:
        call = asyncio.create_task(client.call(a_request(timeout_s=60.0)))
        async with asyncio.timeout(SOON_S):
            await service.called.wait()
            call.cancel()
            await service.aborted.wait()
            with pytest.raises(asyncio.CancelledError):
                await call

    assert call.cancelled()


async def test_closing_the_client_fails_its_calls_without_cancelling_the_callers() -> None:
    service = ScriptedService(hangs)
    async with a_server(service) as port, a_client(port) as client:
        call = asyncio.create_task(client.call(a_request(timeout_s=60.0)))
        async with asyncio.timeout(SOON_S):
            await service.called.wait()
            await client.close()
            with pytest.raises(ServiceError) as caught:
                await call

    assert (caught.value.code, caught.value.retriable) == ("SERVICE_UNAVAILABLE", True)


async def test_a_closed_client_calls_nobody() -> None:
    service = ScriptedService(answers)
    async with a_server(service) as port, a_client(port) as client:
        await client.close()
        error = await the_error_of(client, a_request())

    assert error.code == "SERVICE_UNAVAILABLE"
    assert service.calls == []


async def test_a_cancelled_caller_never_sees_a_failure_instead() -> None:
    async with a_server(ScriptedService(answers)) as port, a_client(port) as client:
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
