"""``orchestrator status``: what runs where, whether it answers, and its lag."""

import os
from datetime import datetime
from typing import Annotated

import msgspec
import typer

from orchestrator.cli.environment import command_settings, no_system, running_system, shown_folder
from orchestrator.cli.output import Output, OutputOption, print_json, print_line, print_table
from orchestrator.cli.running import run
from orchestrator.settings import Settings
from orchestrator.status import GroupLag, PartStatus, SystemStatus, ask_status

_PORTS_SHOWN = 2
_PARTS = ("name", "pid", "port", "answers", "log", "restarts")
_DROP = ("restarts", "log")
_LAG = ("group", "processes", "lag", "by topic")


def status(
    timeout_s: Annotated[
        float, typer.Option("--timeout-s", min=0.1, max=60, help="Seconds to wait for an answer.")
    ] = 5.0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what runs where: servers, processes, ports, logs, versions, and consumer lag.

    The system is the one that `orchestrator dev` runs on this machine, or the servers that
    ORCH_KAFKA_BOOTSTRAP and ORCH_POSTGRES_DSN name; its processes are then those that wrote
    their addresses into ORCH_METRICS_TARGETS_DIR. All are asked at once; none is waited for
    longer than --timeout-s.

    `-o json` prints one object: pid, started_at, folder (null without `orchestrator dev`),
    servers and processes (name, address, pid, ports, log, restarts, version, answers, took_ms,
    problem), and lag (group, lag, topics, members), null if Kafka does not answer. Names stay; new
    ones may come.

    Exit status: 0 everything runs and answers; 1 something does not, or no system was found.
    """
    settings = command_settings()
    found = running_system().system if settings.dev.find else None
    system = found if found is not None and _is_of(settings, found.variables) else None
    if system is None and not (settings.kafka.bootstrap or settings.postgres.dsn):
        raise no_system()
    shown = run(ask_status(settings, system, timeout_s=timeout_s))
    if output is Output.JSON:
        print_json(msgspec.to_builtins(shown))
    else:
        _show(shown, settings.topics.prefix, output)
    if not shown.good:
        raise typer.Exit(1)


def _is_of(settings: Settings, variables: dict[str, str]) -> bool:
    """Whether the settings name the servers of the running system."""
    return settings.kafka.bootstrap == variables.get("ORCH_KAFKA_BOOTSTRAP")


def _show(shown: SystemStatus, prefix: str, output: Output) -> None:
    if shown.pid is not None and shown.started_at is not None:
        at = datetime.fromisoformat(shown.started_at).strftime("%Y-%m-%d %H:%M")
        print_line(f"orchestrator dev: pid {shown.pid}, started {at}")
        print_line(f"data and logs in {shown_folder(shown.folder or '')}")
        print_line("")
    parts = (*shown.servers, *shown.processes)
    rows = [_row(part, shown.folder) for part in parts]
    print_table(_PARTS, rows, output=output, drop=_DROP)
    for part in parts:
        if part.problem:
            print_line(f"{part.name}: {part.problem}")
    if not shown.processes:
        print_line("processes: none is known; ORCH_METRICS_TARGETS_DIR names their folder")
    print_line("")
    if shown.lag is None:
        print_line("consumer lag: not known, because Kafka did not answer")
        return
    lag = [_lag_row(group, prefix) for group in shown.lag]
    print_line(f"consumer groups with the prefix {prefix}")
    print_table(_LAG, lag, output=output, drop=(), wrap=True)


def _row(part: PartStatus, folder: str | None) -> tuple[object, ...]:
    ports = " ".join(map(str, part.ports))
    if len(part.ports) > _PORTS_SHOWN:
        ports = f"{len(part.ports)} ports"
    answers = "runs" if part.took_ms is None else f"{part.took_ms} ms"
    log = part.log or ""
    if folder and log.startswith(folder):
        log = os.path.relpath(log, folder)
    return (
        f"{part.name} {part.version}" if part.version else part.name,
        part.pid,
        ports,
        answers if part.answers else "NO",
        log,
        part.restarts,
    )


def _lag_row(group: GroupLag, prefix: str) -> tuple[object, ...]:
    behind = (f"{_bare(name, prefix)} {lag}" for name, lag in group.topics.items() if lag)
    return group.group.removeprefix(prefix), group.members, group.lag, ", ".join(behind)


def _bare(topic: str, prefix: str) -> str:
    return topic.replace(prefix, "", 1).removesuffix(".v1")
