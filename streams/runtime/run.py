"""Runs the application of one role until it is asked to stop, or it fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog
from aiokafka.errors import KafkaError

from streams.errors import KafkaUnavailableError
from streams.forced_end import exit_after
from streams.garbage import look_for_cycles_rarely
from streams.health import Health
from streams.runtime.app import App
from streams.runtime.watchdog import watch

log = structlog.get_logger()

_STOP_TIMEOUT_S = 10.0
FORCE_AFTER_S = _STOP_TIMEOUT_S + 5.0
"""Time for an application to stop after its work has ended; then the process is ended."""


async def run_app(
    app: App,
    health: Health,
    stopping: asyncio.Event,
    *,
    grace_s: float,
    others_grace_s: float = 0.0,
) -> int:
    """Run an application; return the exit code of its process.

    When ``stopping`` is set, no new work begins, the deliveries in flight have ``grace_s`` to end,
    acknowledged offsets are committed, and the result is 0. When the application fails, the
    result is 1 and nothing more is acknowledged: the work in flight is delivered again. A
    process that cannot stop, because it waits for something that never comes, is ended by force.

    Args:
        app: not started yet.
        health: gets the state of the application, and notes that it has started.
        stopping: set once, by a signal (:mod:`streams.stop_signals`) or by another role.
        grace_s: a supervisor has to wait longer than this between its signal and a kill.
        others_grace_s: the longest of other applications in this process, which an end by force
            would end, too.

    Raises:
        KafkaUnavailableError: no broker answered at the start; build another application.
    """
    look_for_cycles_rarely()
    health.add("group", app.not_assigned)
    health.add("process", app.ending)
    async with _started(app):
        health.started()
        log.info("role_started", group=app.conf.id)
        try:
            await _first(stopping.wait(), app.failed.wait(), app.wait_until_stopped(), watch(app))
        except Exception as error:
            app.fail("watchdog_raised", error)
        failed = app.failed.is_set() or app.crashed
        forced = exit_after(FORCE_AFTER_S + (0.0 if failed else max(grace_s, others_grace_s)))
        if failed:
            # These will not be acknowledged; Faust must not wait for them.
            app.let_go()
        else:
            log.info("role_stopping", group=app.conf.id, in_flight=len(app.pending))
            await app.close(grace_s)
            failed = app.failed.is_set() or app.crashed
    forced.cancel()
    if app.leaves_group and app.kafka.instance_id:
        # A named member cannot be taken out of its group sooner.
        await asyncio.sleep(app.kafka.session_timeout_s)
    log.info("role_stopped", group=app.conf.id, failed=failed)
    return 1 if failed else 0


@asynccontextmanager
async def _started(app: App) -> AsyncIterator[None]:
    app.finalize()
    try:
        await app.maybe_start()
    except (KafkaError, asyncio.CancelledError) as error:
        # Otherwise the thread of its consumer would keep the process.
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await app.stop()
        if isinstance(error, KafkaError):
            raise KafkaUnavailableError(repr(error)) from error
        raise
    try:
        yield
    finally:
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await app.stop()
        except TimeoutError:
            log.error("stop_timed_out", group=app.conf.id)


async def _first(*awaitables: object) -> None:
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]  # type: ignore[call-overload]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
