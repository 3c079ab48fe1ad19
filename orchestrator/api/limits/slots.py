"""Bounds the work that each tenant has going on at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from orchestrator.api.errors import ApiError, Kind
from orchestrator.api.limits import REFUSED_AFTER_S
from orchestrator.api.limits.metrics import LIMITED

_RETRY_AFTER_S = 2.0


@dataclass(slots=True)
class _Place:
    """One tenant: its slots, and who runs or waits."""

    slots: asyncio.Semaphore
    inside: int = field(default=0)


class TenantSlots:
    """A few slots for each tenant, and optionally a bound for all tenants together.

    A tenant that has used its own slots waits for itself alone. More than a bounded number of its
    calls do not wait but are refused, so that they take neither memory nor time of others. A call
    that waits for its turn for too long is refused as well.
    """

    def __init__(
        self,
        limit: str,
        of: Callable[[str], int],
        *,
        waiting: int,
        wait_s: float,
        together: int | None = None,
    ) -> None:
        """Begin without a tenant.

        Args:
            limit: the name of the setting, for the metric.
            of: the slots of a tenant.
            waiting: how many times its slots may wait.
            wait_s: how long one waits for its turn.
            together: the slots of all tenants; None: no bound.
        """
        self._limit = limit
        self._of = of
        self._waiting = waiting
        self._wait_s = wait_s
        self._together = asyncio.Semaphore(together) if together else None
        self._places: dict[str, _Place] = {}

    @asynccontextmanager
    async def of(self, tenant_id: str) -> AsyncIterator[None]:
        """A slot of this tenant, while the block runs.

        Raises:
            ApiError: WORK_LIMITED; too many calls of this tenant run and wait.
        """
        slots = self._of(tenant_id)
        place = self._places.setdefault(tenant_id, _Place(asyncio.Semaphore(slots)))
        if place.inside >= slots * (1 + self._waiting):
            await asyncio.sleep(REFUSED_AFTER_S)
            raise self._limited()
        place.inside += 1
        try:
            async with AsyncExitStack() as taken:
                await self._take(taken, place.slots)
                yield
        finally:
            place.inside -= 1
            if not place.inside:
                del self._places[tenant_id]

    async def _take(self, taken: AsyncExitStack, slots: asyncio.Semaphore) -> None:
        try:
            async with asyncio.timeout(self._wait_s):
                await taken.enter_async_context(slots)
                if self._together is not None:
                    await taken.enter_async_context(self._together)
        except TimeoutError:
            raise self._limited() from None

    def _limited(self) -> ApiError:
        LIMITED.labels(self._limit).inc()
        message = "too many calls of this kind of this tenant wait already: do fewer at once"
        return ApiError("WORK_LIMITED", message, kind=Kind.LIMITED, retry_after_s=_RETRY_AFTER_S)
