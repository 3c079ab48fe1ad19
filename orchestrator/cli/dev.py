"""``orchestrator dev``: the whole system in the foreground, with a demonstration."""

import asyncio
import logging
import os
import signal
import time
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from orchestrator.configuration.load import process_settings
from orchestrator.local.dev.demonstration import Demonstration
from orchestrator.local.dev.first_start import is_first_start, note_start
from orchestrator.local.dev.notices import Terminal, show_events, shown_path
from orchestrator.local.dev.own_parts import OwnParts
from orchestrator.local.dev.ports_taken import ports_taken
from orchestrator.local.dev.readiness import service_answers
from orchestrator.local.dev.record_keeper import kept_record
from orchestrator.local.dev.role_watch import LogWatch
from orchestrator.local.dev.server_keeper import Restarts, kept_running
from orchestrator.local.dev.summary import show_summary
from orchestrator.local.dev.system import DEV_DEFAULTS, System, open_system
from orchestrator.local.embedded.servers import Servers, open_servers
from orchestrator.local.models.servers import local_models
from orchestrator.logs import LogSettings, set_up_logs
from orchestrator.schema_ids import use_schema_ids
from orchestrator.settings import Settings

_DEMONSTRATION_S = 120.0
_PRIVATE_UMASK = 0o077


def dev(
    once: Annotated[
        bool,
        typer.Option(
            "--once", help="Stop after the demonstration; exit 1 if it did not go as it should."
        ),
    ] = False,
    demo: Annotated[
        bool | None,
        typer.Option(
            "--demo/--no-demo",
            help="Create the demonstration's tasks, or never; by default at the first start "
            "on a data folder.",
        ),
    ] = None,
    steps: Annotated[
        list[Path] | None,
        typer.Option(
            help="A Python file with functions that are steps (@step of ai_orchestrator), run "
            "beside the system; its name without .py is its service's. Changes are taken. May be "
            "given several times."
        ),
    ] = None,
    pipelines: Annotated[
        Path | None,
        typer.Option(
            help="A folder of pipelines, as ORCH_PIPELINES_DIR; changes are taken while the "
            "system runs."
        ),
    ] = None,
    models: Annotated[
        bool,
        typer.Option(
            "--models",
            help="Answer rag, chat and agent by small real models on this machine, which are "
            "fetched once (200 MB).",
        ),
    ] = False,
) -> None:
    """Start Kafka, Postgres and every role, run demonstration tasks, stay up until Ctrl-C.

    ORCH_KAFKA_BOOTSTRAP and ORCH_POSTGRES_DSN name servers of your own; otherwise real ones
    are started here: Kafka on 9092, Postgres on 5432, or on another port if that is taken.
    Data, logs and running.json, by which other commands find this system, are kept in
    .orchestrator/.
    """
    if once and demo is False:
        raise typer.BadParameter("--once stops after the demonstration; --no-demo leaves it out")
    settings = process_settings(os.environ, DEV_DEFAULTS)
    if models and (pipelines is not None or settings.pipelines.dir is not None):
        raise typer.BadParameter("--models brings pipelines of its own; leave out the others")
    own = OwnParts.taken(settings, steps or [], pipelines)
    settings = process_settings(os.environ, DEV_DEFAULTS)
    # Logs and data are for this account only, whatever the shell's umask is.
    os.umask(_PRIVATE_UMASK)
    set_up_logs(LogSettings(level="warning", format="console"), role="dev")
    show_events()
    # It warns of every partition that is new, and tries again by itself.
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    raise typer.Exit(asyncio.run(_until_stopped(_Dev(settings, once, demo, own, models))))


async def _until_stopped(program: "_Dev") -> int:
    """Run until done or until the first SIGINT or SIGTERM; then everything is stopped."""
    running = asyncio.ensure_future(program.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, running.cancel)
    try:
        return await running
    except asyncio.CancelledError:
        Console().print("stopped; the data is kept")
        return 0


class _Dev:
    """One run of the whole system."""

    def __init__(
        self, settings: Settings, once: bool, demo: bool | None, own: OwnParts, models: bool
    ) -> None:
        self._models = models
        self._settings = settings
        self._own = own
        self._once = once
        self._demo = demo
        self._folder = settings.embedded.data_dir.absolute()
        self._terminal = Terminal(Console())
        self._began = time.monotonic()
        self._watch = LogWatch(self._folder / "logs", self._report)

    async def run(self) -> int:
        """Return the exit status; runs until it is cancelled, or to the end of ``--once``."""
        settings, say = self._settings, self._terminal.notice
        await use_schema_ids(settings)
        say(f"Starting Kafka and Postgres; their data is in {shown_path(self._folder)}")
        async with (
            open_servers(
                settings.embedded,
                kafka_bootstrap=settings.kafka.bootstrap or None,
                postgres_dsn=settings.postgres.dsn or None,
                progress=say,
            ) as servers,
            self._with_models() as of_models,
        ):
            self._models = bool(of_models)
            found = {
                **of_models,
                "ORCH_KAFKA_BOOTSTRAP": servers.kafka_bootstrap,
                "ORCH_POSTGRES_DSN": servers.postgres_dsn,
            }
            settings = process_settings({**os.environ, **found}, DEV_DEFAULTS)
            restarts: Restarts = Restarts()
            async with (
                kept_running(servers, restarts) as failed,
                open_system(
                    settings,
                    environment=of_models,
                    logs=self._folder / "logs",
                    further=partial(self._own.steps.children, logs=self._folder / "logs"),
                    progress=say,
                ) as system,
                self._own.followed(system, say),
                kept_record(system, servers, self._folder, restarts),
            ):
                return await self._with(system, servers, asyncio.ensure_future(failed))

    def _with_models(self) -> AbstractAsyncContextManager[dict[str, str]]:
        """The variables of the models, if they are wanted and can be had."""
        if not self._models:
            return nullcontext({})
        return local_models(self._settings, self._folder / "logs", progress=self._terminal.notice)

    async def _with(self, system: System, servers: Servers, failed: "asyncio.Future[None]") -> int:
        for sentence in ports_taken(self._settings, servers, system):
            self._terminal.notice(sentence)
        watching = asyncio.create_task(self._watch.run(system.supervisor.children))
        try:
            await self._until_ready(system)
            shown = await self._demonstrate(system)
            if self._once:
                return 0 if shown else 1
            show_summary(self._terminal, system, servers, self._folder, streams=self._models)
            await failed  # never, unless a server cannot be started again
            return 0
        finally:
            watching.cancel()

    async def _until_ready(self, system: System) -> None:
        answers = await service_answers(system.http_address)
        seconds = f"{time.monotonic() - self._began:.1f} s"
        if answers:
            self._terminal.notice(f"The service answers; everything started within {seconds}")
        else:
            log = shown_path(system.logs / "serve.log")
            self._terminal.notice(f"The service does not answer after {seconds}; see {log}")

    async def _demonstrate(self, system: System) -> bool:
        """Whether the demonstration succeeded; also true if it did not run."""
        wanted = self._demo
        if wanted is None:
            wanted = self._once or is_first_start(self._folder)
        note_start(self._folder)
        if not wanted:
            return True
        terminal = self._terminal
        shown = await Demonstration(system.settings, terminal.console, self._models).run(
            timeout_s=_DEMONSTRATION_S
        )
        terminal.line(f"demonstration over after {time.monotonic() - self._began:.1f} s")
        if not shown:
            terminal.console.print("[red]it did not go as it should[/red]")
            terminal.line(f"see {shown_path(system.logs)}")
        return shown

    def _report(self, name: str, what: str, log: Path) -> None:
        self._terminal.notice(f"{name}: {what} (log: {shown_path(log)})")
