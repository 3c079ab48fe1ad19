"""``orchestrator status``: what runs where, whether it answers, and its lag."""

import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated

import msgspec
import typer

from orchestrator.cli.environment import command_settings, running_system
from orchestrator.cli.output import Output, OutputOption, print_json, print_line
from orchestrator.cli.running import run
from orchestrator.settings import Settings
from orchestrator.status import GroupLag, PartStatus, Status, ask_status
from schemas.errors import SettingsError

_PORTS_SHOWN = 2


def status(
    timeout_s: Annotated[
        float, typer.Option("--timeout-s", min=0.1, max=60, help="Seconds to wait for an answer.")
    ] = 5.0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what runs where: servers, processes, ports, logs, versions, and consumer lag.

    The system is the one that `orchestrator dev` runs on this machine, or the servers that
    ORCH_KAFKA_BOOTSTRAP and ORCH_POSTGRES_DSN name. All are asked at once; none is waited for
    longer than --timeout-s.

    `-o json` prints one object: pid, started_at, folder (null without `orchestrator dev`),
    servers and processes (name, address, pid, ports, log, restarts, version, answers, took_ms,
    problem), and lag (group, lag, topics), null if Kafka does not answer. Names stay; new ones
    may come.

    Exit status: 0 everything runs and answers; 1 something does not, or no system was found.
    """
    settings = command_settings()
    found = running_system().system if settings.dev.find else None
    system = found if found is not None and _is_of(settings, found.variables) else None
    if system is None and not (settings.kafka.bootstrap or settings.postgres.dsn):
        raise SettingsError("no system of `orchestrator dev` runs here, and no variable is set")
    shown = run(ask_status(settings, system, timeout_s=timeout_s))
    if output is Output.JSON:
        print_json(msgspec.to_builtins(shown))
    else:
        for line in status_lines(shown, settings.topics.prefix):
            print_line(line)
    if not shown.good:
        raise typer.Exit(1)


def _is_of(settings: Settings, variables: dict[str, str]) -> bool:
    """Whether the settings speak of the running system, not of another one."""
    return settings.kafka.bootstrap == variables.get("ORCH_KAFKA_BOOTSTRAP")


def status_lines(shown: Status, prefix: str) -> Iterator[str]:
    """The status for people, in lines of at most 80 columns."""
    if shown.pid is not None and shown.started_at is not None:
        at = datetime.fromisoformat(shown.started_at).strftime("%Y-%m-%d %H:%M")
        yield f"orchestrator dev: pid {shown.pid}, started {at}"
        yield f"data and logs in {_short(shown.folder or '')}"
        yield ""
    parts = (*shown.servers, *shown.processes)
    rows = [("name", "pid", "port", "answers", "restarts", "log")]
    yield from _aligned(rows + [_row(part, shown.folder) for part in parts])
    problems = [part for part in parts if part.problem]
    if problems:
        yield ""
        yield from (f"{part.name}: {part.problem}" for part in problems)
    yield ""
    if shown.lag is None:
        yield "consumer lag: not known, because Kafka did not answer"
        return
    yield from _aligned([("group", "lag", "by topic"), *(_lag_row(g, prefix) for g in shown.lag)])


def _row(part: PartStatus, folder: str | None) -> tuple[str, ...]:
    name = f"{part.name} {part.version}" if part.version else part.name
    ports = " ".join(map(str, part.ports))
    if len(part.ports) > _PORTS_SHOWN:
        ports = f"{len(part.ports)} ports"
    took = "" if part.took_ms is None else f" {part.took_ms} ms"
    answers = (f"yes{took}" if took else "runs") if part.answers else "NO"
    log = part.log or ""
    if folder and log.startswith(folder):
        log = os.path.relpath(log, folder)
    restarts = "" if part.restarts is None else str(part.restarts)
    return name, str(part.pid or ""), ports, answers, restarts, log


def _lag_row(group: GroupLag, prefix: str) -> tuple[str, ...]:
    behind = (f"{_bare(name, prefix)} {lag}" for name, lag in group.topics.items() if lag)
    return group.group.removeprefix(prefix), str(group.lag), ", ".join(behind)


def _bare(topic: str, prefix: str) -> str:
    return topic.replace(prefix, "", 1).removesuffix(".v1")


def _aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Columns as wide as their longest cell, with two spaces between them."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _short(path: str) -> str:
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
