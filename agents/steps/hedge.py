"""A second call beside a slow one, for steps that say that this is safe."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from agents.services.client import OnChunk, StepClient, StepRequest, StepResponse
from streams import metrics


class HedgedClient:
    """A :class:`~agents.services.client.StepClient` that calls another one up to twice.

    Both calls carry the same idempotency key. The first answer counts, and the other call is
    cancelled: what it cost is known of models only. A failure counts only when both have failed.
    The answer is not streamed, for two would be mixed.

    Args:
        client: the client of the service.
        after_s: how long a call may be without an answer before the second one is made.
        allowed: asked then, once; False: there is no second call.
    """

    def __init__(self, client: StepClient, *, after_s: float, allowed: Callable[[], bool]) -> None:
        self._client = client
        self._after_s = after_s
        self._allowed = allowed

    async def call(self, request: StepRequest, *, on_chunk: OnChunk | None = None) -> StepResponse:
        """Run one attempt, as :class:`~agents.services.client.StepClient` promises."""
        del on_chunk
        first = asyncio.create_task(self._client.call(request))
        calls = [first]
        try:
            await asyncio.wait(calls, timeout=self._after_s)
            if not first.done() and self._allowed():
                left = replace(request, timeout_s=request.timeout_s - self._after_s)
                calls.append(asyncio.create_task(self._client.call(left)))
            return await _first_answer(request, calls)
        finally:
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()


async def _first_answer(
    request: StepRequest, calls: list[asyncio.Task[StepResponse]]
) -> StepResponse:
    running = set(calls)
    while True:
        done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        answered = [call for call in done if not call.cancelled() and call.exception() is None]
        if answered and len(calls) == 2:
            which = "second" if calls[0] not in answered else "first"
            metrics.HEDGES.labels(request.step, which).inc()
        if answered:
            return answered[0].result()
        if not running:
            # The failure of the first call is that of the attempt.
            return calls[0].result()
