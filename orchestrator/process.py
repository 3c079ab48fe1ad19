"""Runs roles in this process until a signal stops them, or one of them fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import structlog
from structlog.contextvars import bound_contextvars

from orchestrator.checks import check_cluster
from orchestrator.layout import STEP_PREFIX
from orchestrator.pipelines import installed_pipelines
from orchestrator.roles import built_role
from orchestrator.schema_ids import use_schema_ids
from orchestrator.settings import Settings
from streams.errors import KafkaUnavailableError
from streams.forced_end import exit_after
from streams.health import Health
from streams.kafka.patience import waits, when_there
from streams.runtime.run import FORCE_AFTER_S, run_app
from streams.stop_signals import stop_signals
from tasks.pipeline import Pipelines

log = structlog.get_logger()

_CLOSE_S = 15.0
"""Time to close connections after a run. A producer alone could wait for a minute."""


async def run_roles(names: Sequence[str], settings: Settings, health: Health) -> int:
    """Run roles side by side until a signal stops them; return the exit code of the process.

    When one of them fails, the others finish their work as after a signal, and the process ends
    with that failure: its supervisor starts all of them again. While no broker answers at its
    start, a role waits.

    Args:
        names: of roles that exist, each once.
        settings: of the system.
        health: says what the start waits for, and later which part is not ready.

    Raises:
        SettingsError: a setting that a role needs is missing.
        TopicsDifferError: topics are missing or differ from the table; nothing was read.
        KafkaRefusedError: a broker refuses the login, the certificate or a right.
        SchemaRegistryError: a registry is set and does not answer; nothing was read.
        MigrationError: the sink or the dead-letter index needs a migration that was not applied.
        PostgresRefusedError: their server, database or account cannot be used.
    """
    pipelines = installed_pipelines(settings.pipelines)
    parts = {name: health if len(names) == 1 else health.part(name) for name in names}
    bound = StopBound(max(_grace_s(name, settings) for name in names) if len(names) > 1 else None)
    with stop_signals() as stopping:
        runs = {
            name: _RoleRun(name, settings, pipelines, parts[name], stopping, bound)
            for name in names
        }
        running = {name: asyncio.create_task(run.to_its_end()) for name, run in runs.items()}
        await _first_end(list(running.values()), stopping)
        bound.began_s = time.monotonic()
        stopping.set()
        # They wait for their servers, and have no work to finish.
        starting = {name for name in names if parts[name].start_problem()}
        await _cancelled([running[name] for name in starting])
        ended = await asyncio.gather(*running.values(), return_exceptions=True)
    return _exit_code(dict(zip(names, ended, strict=True)), cancelled=starting)


@dataclass(slots=True)
class StopBound:
    """How long the roles of a process may close their connections; then the process is ended."""

    longest_grace_s: float | None
    """Of several roles, the longest time for work in flight; None: there is one role."""
    began_s: float | None = None
    """When the roles were asked to stop, as :func:`time.monotonic` says it."""

    def close_s(self, now_s: float) -> float:
        """Time for a role that ends now.

        While it closes its connections, another one may still finish its calls: an end of the
        process would end these. So all have until the slowest one must have closed its own.
        """
        if self.longest_grace_s is None:
            return _CLOSE_S
        longest_s = self.longest_grace_s + FORCE_AFTER_S + _CLOSE_S
        began_s = now_s if self.began_s is None else self.began_s
        return max(_CLOSE_S, began_s + longest_s - now_s)


@dataclass(frozen=True, slots=True)
class _RoleRun:
    """One role in this process."""

    role: str
    settings: Settings
    pipelines: Pipelines
    health: Health
    stopping: asyncio.Event
    bound: StopBound

    async def to_its_end(self) -> int:
        """Wait for the brokers, run the role, and return the exit code for its process."""
        first_contact = partial(check_cluster, self.role, self.settings, self.pipelines)
        self.health.starting("checks Kafka")
        self.health.add("waits", waits)
        with bound_contextvars(role=self.role):
            async with self.health.beating():
                await when_there("kafka", first_contact, refusals_wait=False)
                await use_schema_ids(self.settings)
                self.health.starting("opens its connections")
                return await when_there("kafka", self._run)

    async def _run(self) -> int:
        """Build the role and run it.

        Raises:
            KafkaUnavailableError: no broker answered at the start; nothing is left open.
        """
        app, resources = await built_role(self.role, self.settings, self.pipelines, self.health)
        code: int | None = None
        bounds = ExitStack()
        try:
            async with resources:
                code = await run_app(
                    app,
                    self.health,
                    self.stopping,
                    grace_s=_grace_s(self.role, self.settings),
                    others_grace_s=self.bound.longest_grace_s or 0.0,
                )
                # Nothing is left to be acknowledged: what cannot be closed must not keep the
                # process.
                bounds.callback(exit_after(self.bound.close_s(time.monotonic()), code=code).cancel)
        except KafkaUnavailableError as error:
            # After a run the result stands, even if some part could not be closed.
            if code is None:
                raise
            log.warning("not_closed", role=self.role, code=error.code)
        finally:
            bounds.close()
        return code


def _grace_s(role: str, settings: Settings) -> float:
    """Time for the work that a role has in flight when it is asked to stop."""
    if role.startswith(STEP_PREFIX):
        return settings.worker.drain_s
    return settings.kafka.drain_timeout_s


async def _first_end(tasks: Sequence[asyncio.Task[int]], stopping: asyncio.Event) -> None:
    """Wait until a signal comes or a role ends, whichever is first."""
    signal = asyncio.create_task(stopping.wait())
    await asyncio.wait([signal, *tasks], return_when=asyncio.FIRST_COMPLETED)
    signal.cancel()


async def _cancelled(starting: Sequence[asyncio.Task[int]]) -> None:
    if not starting:
        return
    forced = exit_after(_CLOSE_S)
    for task in starting:
        task.cancel()
    await asyncio.wait(starting)
    forced.cancel()


def _exit_code(ended: Mapping[str, int | BaseException], *, cancelled: Set[str]) -> int:
    """Raise the error of a role, of several the one that was named first; the log has the others.

    A cancellation is an error, too, unless it was ours.
    """
    errors = {
        role: found
        for role, found in ended.items()
        if isinstance(found, BaseException)
        and not (role in cancelled and isinstance(found, asyncio.CancelledError))
    }
    # What all of them lack, such as topics, is said once.
    said: dict[str, str] = {}
    for role, error in errors.items():
        said.setdefault(repr(error), role)
    errors = {role: errors[role] for role in said.values()}
    for role, error in list(errors.items())[1:]:
        code = getattr(error, "code", "INTERNAL")
        log.error("role_failed", role=role, code=code, exc_info=error)
    for error in errors.values():
        raise error
    return max((code for code in ended.values() if isinstance(code, int)), default=0)
