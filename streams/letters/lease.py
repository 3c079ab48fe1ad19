"""Lets one replay run at a time, by the order of ``dlq-actions`` alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from schemas.records import DeadLetterAction, DeadLetterActionKind, Json
from streams.clock import now_ms
from streams.letters.action_log import ActionLog, new_id
from streams.letters.errors import ReplayRunningError, ReplaySupersededError
from tasks.letters.ledger import Run
from tasks.letters.plan import ReplayOrder

_POLL_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseSettings:
    """How a replay shows that it is alive."""

    heartbeat_s: float = 2.0
    """The longest time between two actions of a living replay, in seconds."""

    silence_s: float = 7.0
    """A replay that is silent for this time was killed, in seconds. More than three heartbeats;
    also the time in which its last requests, still on their way, arrive."""


class Lease:
    """The right to send.

    1. Runs without an end are watched. If one appends, it is alive, and we do not start. The
       others were killed, and we append an end for each of them.
    2. Our start is appended; if another start came before it, we withdraw.
    3. Before each batch, :meth:`check` reads the ledger: a run that took us for dead appended
       our end first, and we stop before anything is sent.
    """

    def __init__(self, log: ActionLog, order: ReplayOrder, settings: LeaseSettings) -> None:
        self._log = log
        self._order = order
        self._settings = settings

    @asynccontextmanager
    async def held(
        self, filter_json: Json, counts: Callable[[], dict[str, int]]
    ) -> AsyncIterator[None]:
        """Take the lease, and send heartbeats while it is held.

        Raises:
            ReplayRunningError: another replay holds it.
        """
        await self._end_dead_runs()
        await self._start(filter_json)
        beating = asyncio.create_task(self._beat(counts))
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def check(self) -> bool:
        """Read the ledger; True if an operator asked this replay to stop.

        Raises:
            ReplaySupersededError: another run has started.
        """
        await self._log.catch_up()
        ours = self._ours()
        if ours.outcome:
            raise ReplaySupersededError("another replay took this one for dead and went on")
        return ours.stop_requested

    async def end(self, outcome: str, counts: dict[str, int]) -> None:
        """Append the outcome of the run."""
        await self._log.append([self._action(outcome=outcome, counts=counts)])

    async def _end_dead_runs(self) -> None:
        await self._log.catch_up()
        seen = {run.replay_id: run for run in self._log.ledger.unended()}
        if not seen:
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + self._settings.silence_s
        while loop.time() < until:
            await asyncio.sleep(_POLL_S)
            await self._log.catch_up()
            for run in self._log.ledger.unended():
                if run.replay_id not in seen or run.last_offset > seen[run.replay_id].last_offset:
                    raise ReplayRunningError(
                        f"replay {run.replay_id} of {run.actor} is running: wait, or stop it with"
                        f" `orchestrator dlq replay --stop {run.replay_id}`"
                    )
        dead = self._log.ledger.unended()
        await self._log.append(
            [self._action(replay_id=run.replay_id, outcome="killed") for run in dead]
        )

    async def _start(self, filter_json: Json) -> None:
        started = self._action(kind=DeadLetterActionKind.REPLAY_STARTED, filter_json=filter_json)
        await self._log.append([started])
        await self._log.catch_up()
        ours = self._ours()
        for run in self._log.ledger.unended():
            if run.started_offset < ours.started_offset:
                await self.end("withdrawn", {})
                raise ReplayRunningError(f"replay {run.replay_id} started just before this one")

    async def _beat(self, counts: Callable[[], dict[str, int]]) -> None:
        while True:
            await asyncio.sleep(self._settings.heartbeat_s)
            progressed = DeadLetterActionKind.REPLAY_PROGRESSED
            await self._log.append([self._action(kind=progressed, counts=counts())])

    def _ours(self) -> Run:
        return self._log.ledger.runs[self._order.replay_id]

    def _action(
        self,
        *,
        kind: DeadLetterActionKind = DeadLetterActionKind.REPLAY_ENDED,
        replay_id: str | None = None,
        outcome: str = "",
        filter_json: Json | None = None,
        counts: dict[str, int] | None = None,
    ) -> DeadLetterAction:
        return DeadLetterAction(
            action_id=new_id(),
            kind=kind,
            replay_id=replay_id or self._order.replay_id,
            actor=self._order.actor,
            reason=self._order.reason,
            filter=filter_json or Json("{}"),
            outcome=outcome,
            counts=counts or {},
            at=now_ms(),
        )
