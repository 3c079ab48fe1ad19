"""A service with several endpoints as one: a client for each, and a choice for each call."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

import structlog

from agents.services import failure
from agents.services.balancing.checks import HealthChecks
from agents.services.balancing.choice import Choice, fewer_of_two
from agents.services.balancing.members import MakeClient, Members, PoolMember
from agents.services.client import OnChunk, StepClient, StepRequest, StepResponse
from agents.services.discovery.endpoint import Endpoint, EndpointSource
from agents.services.failure import CallFailure, ServiceError
from agents.services.models.refusals import ANSWER_INVALID, PROMPT_INVALID
from streams import metrics

log = structlog.get_logger()

FIRST_LIST_S = 5.0
"""A service whose endpoints are not known after this time is treated as down."""

TRIES = 3
"""Endpoints that one call may try to connect to."""


class BalancedStepClient:
    """A :class:`~agents.services.client.StepClient` over one client for each endpoint.

    Of two random endpoints the one with fewer calls in flight gets a call. If it got nothing of
    the request because no connection was possible, another endpoint is tried: the service is
    still called at most once. An endpoint whose calls fail in a row is left out for a while, see
    :mod:`agents.services.balancing.ejection`; one that leaves the list ends its calls and is
    closed. Belongs to the event loop of its first call.

    Args:
        source: where the endpoints come from; watched from the first call on.
        make: opens the client of an endpoint, without connecting.
        service: the name for errors, as the pipeline knows it.
        checks: asks the endpoints whether they are well; None: only calls tell.
        choice: which of several endpoints gets a call.
    """

    def __init__(
        self,
        source: EndpointSource,
        make: MakeClient,
        *,
        service: str,
        checks: HealthChecks | None = None,
        choice: Choice = fewer_of_two,
    ) -> None:
        self._checks = checks
        self._source = source
        self._service = service
        self._members = Members(
            make,
            clock=lambda: asyncio.get_running_loop().time(),
            chance=random.random,
            choice=choice,
        )
        self._running: list[asyncio.Task[None]] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._known = asyncio.Event()
        """Set when there is a list, and when the client is closed."""
        self._closed = False

    def __repr__(self) -> str:
        return f"BalancedStepClient({self._service!r}, {len(self._members)} endpoints)"

    async def call(self, request: StepRequest, *, on_chunk: OnChunk | None = None) -> StepResponse:
        """Run one attempt, as :class:`~agents.services.client.StepClient` promises.

        Connecting to up to ``TRIES`` endpoints, and waiting for the first list of endpoints, do
        not count as the service's time. No further endpoint is tried after ``FIRST_LIST_S``.
        """
        if request.timeout_s <= 0:
            raise self._error(failure.TIMED_OUT, "there was no time left for the call")
        until_s = asyncio.get_running_loop().time() + FIRST_LIST_S
        await self._listed()
        tried: set[Endpoint] = set()
        while True:
            try:
                async with self._taken(tried, request) as member:
                    return await member.client.call(request, on_chunk=on_chunk)
            except ServiceError as error:
                if error.called or self._is_last(tried, until_s):
                    raise

    async def close(self) -> None:
        """Close all clients. Calls in flight fail as ``SERVICE_UNAVAILABLE``; idempotent."""
        self._closed = True
        self._known.set()
        running, self._running = self._running, []
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        self._close_soon(self._members.clear())
        metrics.SERVICE_ENDPOINTS.labels(self._service).set(0)
        while self._closing:
            await asyncio.wait(self._closing)

    async def _listed(self) -> None:
        """Wait until there are endpoints."""
        if self._known.is_set() and not self._closed:
            return
        if not self._closed and not self._running:
            # In a context of their own: their lines are not about the task of this call.
            clean = contextvars.Context()
            watching = self._watch()
            self._running = [
                asyncio.create_task(watching, name=f"watch {self._service}", context=clean)
            ]
            if self._checks is not None:
                asking = self._checks.run(self._members, self._tell_left_out)
                self._running.append(
                    asyncio.create_task(asking, name=f"check {self._service}", context=clean)
                )
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_LIST_S):
                await self._known.wait()
        if self._closed:
            raise self._error(failure.UNAVAILABLE, "the client is closed")
        if not self._known.is_set():
            raise self._error(failure.UNAVAILABLE, "its endpoints are not known yet")

    async def _watch(self) -> None:
        async for endpoints in self._source.watch():
            self._close_soon(self._members.replace(endpoints))
            metrics.SERVICE_ENDPOINTS.labels(self._service).set(len(endpoints))
            log.info("service_endpoints", service=self._service, endpoints=len(endpoints))
            self._known.set()

    @asynccontextmanager
    async def _taken(self, tried: set[Endpoint], request: StepRequest) -> AsyncIterator[PoolMember]:
        """An endpoint for a call, and what the call's end says about it."""
        member = self._members.take(tried)
        if member is None:
            raise self._error(failure.UNAVAILABLE, "no further endpoint can be tried")
        tried.add(member.endpoint)
        failed: bool | None = None
        try:
            yield member
            failed = False
        except ServiceError as error:
            failed = self._says_failed(error, request)
            raise
        finally:
            if self._members.give_back(member, failed=failed):
                self._tell_left_out(member.endpoint)
            self._close_soon(self._members.drained())

    def _is_last(self, tried: set[Endpoint], until_s: float) -> bool:
        late = asyncio.get_running_loop().time() >= until_s
        return self._closed or late or len(tried) >= min(TRIES, len(self._members))

    def _tell_left_out(self, endpoint: Endpoint) -> None:
        metrics.ENDPOINTS_LEFT_OUT.labels(self._service).inc()
        log.warning(
            "endpoint_left_out",
            service=self._service,
            address=endpoint.authority,
            left_out=self._members.left_out(),
            endpoints=len(self._members),
        )

    def _close_soon(self, clients: Iterable[StepClient]) -> None:
        # Not in the call that was the last one: it would wait, and may be cancelled.
        for client in clients:
            task = asyncio.create_task(client.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _error(self, verdict: failure.Verdict, message: str) -> ServiceError:
        return ServiceError(
            verdict, f"{self._service}: {message}", service=self._service, called=False
        )

    def _says_failed(self, error: ServiceError, request: StepRequest) -> bool | None:
        """Whether an error is the endpoint's fault; None: it says nothing about it.

        One that answers with what is no answer is at fault: it is fast, and would get many calls.
        """
        if error.service != self._service or error.code in _SAYS_NOTHING:
            return None
        if error.failure_class is CallFailure.TIMEOUT:
            return True if request.whole_time else None
        return error.retriable or error.code == failure.RESPONSE_INVALID.code


_SAYS_NOTHING = (
    failure.OVERLOADED.code,
    failure.ACCESS_DENIED.code,
    failure.UNSENDABLE.code,
    PROMPT_INVALID.code,
    ANSWER_INVALID.code,
)
