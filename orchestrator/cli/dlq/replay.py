"""``orchestrator dlq replay``: send dead letters back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from orchestrator.cli.arguments import check_reason, default_actor
from orchestrator.cli.dlq.options import (
    ClassOption,
    CodeOption,
    ExceptionOption,
    Ids,
    JsonOption,
    ServiceOption,
    StageOption,
    StatusOption,
    StepOption,
    TaskOption,
    TenantOption,
    TopicOption,
    TypeOption,
    a_filter,
    form,
)
from orchestrator.cli.dlq.show import print_stats
from orchestrator.cli.options import (
    ActorOption,
    ExecuteOption,
    ReasonOption,
    SinceOption,
    UntilOption,
)
from orchestrator.cli.output import Output, OutputOption, print_json, print_line
from orchestrator.cli.running import kafka_settings
from orchestrator.letters.connections import LetterConnections, open_connections
from orchestrator.letters.replay_parts import replay_parts
from schemas.records import DeadLetterAction, DeadLetterActionKind
from streams.clock import now_ms
from streams.letters.action_log import new_id
from streams.letters.errors import LettersGoneError, LetterUnknownError
from streams.letters.replay import Replay, ReplayLimits, preview
from tasks.letters.filter import LetterFilter
from tasks.letters.plan import ReplayOrder


def replay(
    ids: Ids = None,
    topic: TopicOption = None,
    task: TaskOption = None,
    tenant: TenantOption = None,
    task_type: TypeOption = None,
    step: StepOption = None,
    service: ServiceOption = None,
    stage: StageOption = None,
    failure_class: ClassOption = None,
    code: CodeOption = None,
    exception: ExceptionOption = None,
    status: StatusOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="Replay every letter; needed when no id and no filter is given."
        ),
    ] = False,
    execute: ExecuteOption = False,
    reason: ReasonOption = "",
    actor: ActorOption = None,
    at_most: Annotated[
        int | None,
        typer.Option("--max", min=1, help="Send at most this many letters; by default all."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.001, help="Send at most this many records a second; by default there is no limit."
        ),
    ] = None,
    canary: Annotated[
        int,
        typer.Option(
            min=0, help="Send this many letters first, and the others only when these succeeded."
        ),
    ] = 0,
    canary_timeout: Annotated[
        float, typer.Option(min=1, help="Seconds to wait for the canaries' end.")
    ] = 120,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Also letters that are replaying, resolved, parked or discarded."
        ),
    ] = False,
    stop: Annotated[
        bool, typer.Option("--stop", help="Ask the replay that runs now to stop.")
    ] = False,
    output: OutputOption = Output.TABLE,
    as_json: JsonOption = False,
) -> None:
    """Send dead letters back. A dry run, unless --execute is given.

    A step that failed is retried by its task's owner; the row of an event is written again;
    any other record goes to where it failed, unchanged. A record that fails again becomes a new
    dead letter; after three replays it is parked. A killed replay can simply be started again.
    Exit status: 0 all done, 3 stopped, 4 the canaries did not succeed, 1 nothing was done:
    the ids are unknown, or the topics no longer hold the listed letters.
    """
    chosen = a_filter(
        kafka_settings().topics.prefix,
        ids=ids,
        topic=topic,
        task=task,
        tenant=tenant,
        type=task_type,
        step=step,
        service=service,
        stage=stage,
        failure_class=failure_class,
        code=code,
        exception=exception,
        status=status,
        since=since,
        until=until,
    )
    if stop:
        stopping = _stop(actor or default_actor(), reason, form(output, as_json))
        asyncio.run(stopping)
        return
    if chosen == LetterFilter() and not everything:
        raise typer.BadParameter("nothing chooses the letters: give ids, filters, or --all")
    check_reason(execute=execute, reason=reason)
    order = ReplayOrder(
        replay_id=new_id(), actor=actor or default_actor(), reason=reason, force=force
    )
    limits = ReplayLimits(
        at_most=at_most, rate_per_s=rate, canaries=canary, canary_timeout_s=canary_timeout
    )
    as_json = form(output, as_json) is Output.JSON
    outcome = asyncio.run(_replay(chosen, order, limits, execute=execute, as_json=as_json))
    raise typer.Exit({"finished": 0, "dry_run": 0, "stopped": 3, "canary_failed": 4}[outcome])


async def _replay(
    chosen: LetterFilter,
    order: ReplayOrder,
    limits: ReplayLimits,
    *,
    execute: bool,
    as_json: bool,
) -> str:
    async with open_connections(kafka_settings()) as connections:
        all_letters = await connections.all_letters()
        known_letters = [known for known in all_letters.ordered() if chosen.matches(known)]
        if not known_letters:
            await _explain(connections, chosen)
        if not execute:
            counts = preview(known_letters, order, connections.topics)
            if not as_json:
                print_stats(known_letters, ["code", "topic", "tenant"], output=Output.TABLE)
                print_line()
            _report("dry_run", counts, order, as_json=as_json)
            return "dry_run"
        with _progress(len(known_letters), quiet=as_json) as progress:
            replayed = Replay(await replay_parts(connections, progress), order, limits)
            outcome = await replayed.run(all_letters, chosen)
        _report(outcome, replayed.counts, order, as_json=as_json)
    return outcome


async def _explain(connections: LetterConnections, chosen: LetterFilter) -> None:
    """Return if there is really nothing to replay.

    Raises:
        LetterUnknownError: ids were given, and no letter has them.
        LettersGoneError: the index lists letters that no topic holds any more.
    """
    listed = [
        known for known in (await connections.indexed_letters()).ordered() if chosen.matches(known)
    ]
    if listed:
        topics = ", ".join(sorted({known.letter.dlq_topic for known in listed}))
        raise LettersGoneError(
            f"{len(listed)} letters are listed, and none of them is in its topic: {topics}"
        )
    if chosen.ids:
        raise LetterUnknownError(f"no dead letter has an id that begins {chosen.ids[0]!r}")


async def _stop(actor: str, reason: str, output: Output) -> None:
    async with open_connections(kafka_settings()) as connections:
        await connections.log.catch_up()
        running = connections.log.ledger.unended()
        await connections.publisher()
        await connections.log.append(
            [
                DeadLetterAction(
                    action_id=new_id(),
                    kind=DeadLetterActionKind.REPLAY_STOP_REQUESTED,
                    replay_id=run.replay_id,
                    actor=actor,
                    reason=reason,
                    at=now_ms(),
                )
                for run in running
            ]
        )
    for run in running:
        if output is Output.JSON:
            print_json({"replay_id": run.replay_id, "actor": run.actor})
        else:
            print_line(f"asked replay {run.replay_id} of {run.actor} to stop")
    if output is not Output.JSON:
        print_line(f"{len(running)} asked to stop")


@contextmanager
def _progress(total: int, *, quiet: bool) -> Iterator[Callable[[Mapping[str, int]], None]]:
    """A progress bar on standard error, with the counts so far beside it."""
    if quiet:
        yield lambda _: None
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[counts]}"),
        console=Console(stderr=True),
    ) as bar:
        task = bar.add_task("replay", total=total, counts="")

        def show(counts: Mapping[str, int]) -> None:
            shown = {name: count for name, count in counts.items() if count}
            texts = (f"{count} {name}" for name, count in shown.items())
            bar.update(task, completed=sum(shown.values()), counts=", ".join(texts))

        yield show


def _report(outcome: str, counts: Mapping[str, int], order: ReplayOrder, *, as_json: bool) -> None:
    shown = {name: count for name, count in counts.items() if count}
    if as_json:
        print_json({"replay_id": order.replay_id, "outcome": outcome, "counts": shown})
        return
    for name, count in shown.items():
        print_line(f"{count:8} {name}")
    if outcome == "dry_run":
        print_line("a dry run: nothing was sent; add --execute --reason TEXT")
    else:
        print_line(f"replay {order.replay_id} {outcome}")
