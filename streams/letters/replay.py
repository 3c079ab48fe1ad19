"""Replays dead letters batch by batch: intent, send, outcome."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from schemas.records import DeadLetterAction, DeadLetterActionKind, DeadLetterItem, TaskId
from schemas.topics import Topics
from streams import span_names as names
from streams.clock import now_ms
from streams.kafka.log_reader import LogReader
from streams.kafka.partitioner import partition_of
from streams.kafka.publisher import Outgoing, Publisher
from streams.letters.action_log import ActionLog, new_id
from streams.letters.canary import Canary, Watch
from streams.letters.lease import Lease, LeaseSettings
from streams.letters.unsettled import settle
from streams.traceparent import TRACE_HEADERS
from streams.tracing import creation_headers, links_to
from tasks.letters.filter import LetterFilter
from tasks.letters.known import KnownLetter, KnownLetters
from tasks.letters.parts import in_parts
from tasks.letters.plan import Park, ReplayOrder, Send, Skip, Verdict, WriteRows, plan

BATCH_MAX = 500
"""Letters of one intent: the number that a killed replay leaves in doubt."""


class Rows(Protocol):
    """Rewrites the rows of tasks from the log."""

    async def write(
        self, partition: int, task_ids: Sequence[TaskId]
    ) -> Mapping[TaskId, str | None] | None:
        """Write them. For each None, or the code of its refusal; None alone: Postgres is down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayLimits:
    """How much to send, and how fast. Defaults: everything at once."""

    at_most: int | None = None
    """Records to send; None: all."""
    rate_per_s: float | None = None
    canaries: int = 0
    """Records that are sent first; the others follow only when all of these succeeded."""
    canary_timeout_s: float = 120.0
    lease: LeaseSettings = field(default_factory=LeaseSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayParts:
    """The parts that a replay works with; all of them are open."""

    topics: Topics
    router_group: str
    reader: LogReader
    log: ActionLog
    publisher: Publisher
    rows: Rows
    canary: Canary
    progress: Callable[[Mapping[str, int]], None]


class Replay:
    """One run of the replay tool.

    For each batch the intent, with the ends of the target partitions, is appended to
    ``dlq-actions``, the records are published, and their offsets are appended. After a kill at any
    point, the next run finds the intent, looks for the records from those ends on, and sends only
    the missing ones. So no letter is replayed twice without ``force``.
    """

    def __init__(self, parts: ReplayParts, order: ReplayOrder, limits: ReplayLimits) -> None:
        self._parts = parts
        self._order = order
        self._limits = limits
        self._lease = Lease(parts.log, order, limits.lease)
        self.counts: Counter[str] = Counter()
        """Letters by outcome: sent, written, refused, parked, and the reasons for skipping."""

    async def run(
        self,
        all_letters: KnownLetters,
        chosen: LetterFilter,
        *,
        among: Container[str] | None = None,
    ) -> str:
        """Replay the letters of ``all_letters`` that match; return the outcome.

        Args:
            all_letters: letters with their values, with the ledger of the log applied.
            chosen: the filter; kept in the ledger.
            among: if given, only letters with these ids. The other letters serve for counting and
                need no values.

        Returns:
            ``finished``, ``stopped`` or ``canary_failed``.

        Raises:
            ReplayRunningError: another replay runs. Nothing was sent.
            ReplaySupersededError: another replay took over.
            PublishError: the outcome of the last batch is unknown; run it again.
        """
        async with self._lease.held(chosen.as_json(), lambda: dict(self.counts)):
            await self._settle_doubts()
            known_letters = [
                known
                for known in all_letters.ordered()
                if chosen.matches(known) and (among is None or known.letter.id in among)
            ]
            outcome = await self._run(known_letters)
            await self._lease.end(outcome, dict(self.counts))
        return outcome

    async def _run(self, known_letters: Sequence[KnownLetter]) -> str:
        todo = self._todo(known_letters)
        await self._park(todo)
        work = [
            (known, verdict) for known, verdict in todo if isinstance(verdict, Send | WriteRows)
        ]
        if self._limits.at_most is not None:
            self.counts["over_max"] += max(0, len(work) - self._limits.at_most)
            work = work[: self._limits.at_most]
        canaries = work[: self._limits.canaries]
        if canaries:
            await self._parts.canary.mark()
            watches = await self._batch(canaries)
            if watches is None:
                return "stopped"
            failed = await self._parts.canary.failed(watches, self._limits.canary_timeout_s)
            if failed or self.counts["refused"]:
                self.counts["canaries_failed"] += len(failed)
                return "canary_failed"
        return await self._send_all(work[len(canaries) :])

    async def _send_all(self, work: Sequence[tuple[KnownLetter, Send | WriteRows]]) -> str:
        loop, began, rate = asyncio.get_running_loop(), asyncio.get_running_loop().time(), None
        size = BATCH_MAX
        if self._limits.rate_per_s is not None:
            rate = self._limits.rate_per_s
            size = max(1, min(BATCH_MAX, int(rate)))
        for at in range(0, len(work), size):
            if rate is not None:
                await asyncio.sleep(max(0.0, began + at / rate - loop.time()))
            if await self._batch(work[at : at + size]) is None:
                return "stopped"
        return "finished"

    async def _settle_doubts(self) -> None:
        """Settle the open intents of killed replays, whatever letters are chosen now."""
        log = self._parts.log
        await log.catch_up()
        doubts = {key: state for key, state in log.ledger.states.items() if state.intended}
        sent, lost = await settle(self._parts.reader, doubts)
        # The outcome belongs to the replay that sent: one action for each replay.
        by_run: dict[str, list[DeadLetterItem]] = defaultdict(list)
        for item in sent:
            by_run[doubts[item.letter_id].replay_id or ""].append(item)
        actions = [
            # Not our reason: another tenant may own the letters, and reads their history.
            self._action(DeadLetterActionKind.REPLAYED, part, replay_id=run, reason="found_sent")
            for run, items in by_run.items()
            for part in in_parts(items, BATCH_MAX)
        ]
        actions += [
            self._action(DeadLetterActionKind.REOPENED, part, reason="not_sent")
            for part in in_parts(lost, BATCH_MAX)
        ]
        if actions:
            await log.append(actions)
            await log.catch_up()
        self.counts["found_sent"] += len(sent)

    def _todo(self, known_letters: Sequence[KnownLetter]) -> list[tuple[KnownLetter, Verdict]]:
        now = now_ms()
        todo = [
            (known, plan(known, self._order, self._parts.topics, now)) for known in known_letters
        ]
        self.counts.update(verdict.reason for _, verdict in todo if isinstance(verdict, Skip))
        return todo

    async def _park(self, todo: Sequence[tuple[KnownLetter, Verdict]]) -> None:
        items = [DeadLetterItem(letter_id=c.letter.id) for c, v in todo if isinstance(v, Park)]
        for part in in_parts(items, BATCH_MAX):
            await self._parts.log.append(
                [self._action(DeadLetterActionKind.PARKED, part, reason="replays_used_up")]
            )
        self.counts["parked"] += len(items)
        self._parts.progress(self.counts)

    async def _batch(
        self, work: Sequence[tuple[KnownLetter, Send | WriteRows]]
    ) -> list[Watch] | None:
        """Intent, send, outcome; None if an operator asked us to stop before the intent."""
        if await self._lease.check():
            return None
        sends = [(known, verdict) for known, verdict in work if isinstance(verdict, Send)]
        rows = [(known, verdict) for known, verdict in work if isinstance(verdict, WriteRows)]
        watches = await self._send(sends) if sends else []
        if rows:
            await self._write_rows(rows)
        self._parts.progress(self.counts)
        return watches

    async def _send(self, sends: Sequence[tuple[KnownLetter, Send]]) -> list[Watch]:
        parts = self._parts
        counts = {
            topic: await parts.publisher.partitions(topic) for topic in {s.topic for _, s in sends}
        }
        records = [_outgoing(known, send, counts[send.topic]) for known, send in sends]
        ends = await parts.reader.ends(sorted({(r.topic, r.partition) for r in records}))
        look_from = [ends[record.topic, record.partition] for record in records]
        intent = self._items(sends, records, look_from)
        await parts.log.append([self._action(DeadLetterActionKind.REPLAY_INTENDED, intent)])
        await self._lease.check()  # deposed between intent and send: the other run looks for it
        offsets = await parts.publisher.publish(records)
        done = self._items(sends, records, offsets)
        await parts.log.append([self._action(DeadLetterActionKind.REPLAYED, done)])
        self.counts["sent"] += len(sends)
        return [
            Watch(
                letter_id=known.letter.id,
                group=parts.router_group if known.letter.of_step else known.letter.group,
                topic=record.topic,
                partition=record.partition,
                offset=offset,
            )
            for (known, _), record, offset in zip(sends, records, offsets, strict=True)
        ]

    async def _write_rows(self, rows: Sequence[tuple[KnownLetter, WriteRows]]) -> None:
        by_partition: dict[int, list[tuple[KnownLetter, WriteRows]]] = defaultdict(list)
        for known, verdict in rows:
            by_partition[known.letter.partition].append((known, verdict))
        for partition, found in by_partition.items():
            ids = list(dict.fromkeys(verdict.task_id for _, verdict in found))
            outcomes = await self._parts.rows.write(partition, ids)
            if outcomes is None:
                self.counts["postgres_away"] += len(found)
                continue
            await self._parts.log.append(self._row_actions(found, outcomes))

    def _row_actions(
        self, rows: Sequence[tuple[KnownLetter, WriteRows]], outcomes: Mapping[TaskId, str | None]
    ) -> list[DeadLetterAction]:
        written: list[DeadLetterItem] = []
        refused: list[DeadLetterItem] = []
        for known, verdict in rows:
            code = outcomes[verdict.task_id]
            item = DeadLetterItem(
                letter_id=known.letter.id, count=verdict.count, reason=code or "rows_written"
            )
            (written if code is None else refused).append(item)
        self.counts["written"] += len(written)
        self.counts["refused"] += len(refused)
        kinds = (
            (DeadLetterActionKind.RESOLVED, written),
            (DeadLetterActionKind.REOPENED, refused),
        )
        return [self._action(kind, items) for kind, items in kinds if items]

    def _items(
        self,
        sends: Sequence[tuple[KnownLetter, Send]],
        records: Sequence[Outgoing],
        offsets: Sequence[int],
    ) -> list[DeadLetterItem]:
        return [
            DeadLetterItem(
                letter_id=known.letter.id,
                count=send.count,
                topic=record.topic,
                partition=record.partition,
                offset=offset,
            )
            for (known, send), record, offset in zip(sends, records, offsets, strict=True)
        ]

    def _action(
        self,
        kind: DeadLetterActionKind,
        items: Sequence[DeadLetterItem],
        *,
        replay_id: str | None = None,
        reason: str | None = None,
    ) -> DeadLetterAction:
        return DeadLetterAction(
            action_id=new_id(),
            kind=kind,
            replay_id=replay_id or self._order.replay_id,
            actor=self._order.actor,
            reason=reason or self._order.reason,
            items=list(items),
            at=now_ms(),
        )


def _outgoing(known: KnownLetter, send: Send, partitions: int) -> Outgoing:
    """The record to be sent; an edited key may belong to another partition.

    In a process that exports spans the record begins a new part of a trace, which is linked to
    the trace of the letter. Otherwise it continues the trace of the letter.
    """
    letter = known.letter
    failed_in = [("traceparent", (letter.traceparent or "").encode())]
    trace = creation_headers(send.topic, {names.LETTER: letter.id}, links_to(failed_in))
    headers = [pair for pair in send.headers if not trace or pair[0] not in TRACE_HEADERS]
    return Outgoing(
        topic=send.topic,
        partition=send.partition if send.key is None else partition_of(send.key, partitions),
        key=send.key,
        value=send.value,
        headers=[*((name, text.encode()) for name, text in trace.items()), *headers],
    )


def preview(
    known_letters: Sequence[KnownLetter], order: ReplayOrder, topics: Topics
) -> dict[str, int]:
    """Count what a replay would do, by kind and target: a dry run. Sends nothing."""
    counts: Counter[str] = Counter()
    for known in known_letters:
        match plan(known, order, topics, now_ms()):
            case Send(topic=topic):
                counts[f"send to {topic}"] += 1
            case WriteRows():
                counts["write rows again"] += 1
            case Park():
                counts["park"] += 1
            case Skip(reason=reason):
                counts[f"skip: {reason}"] += 1
    return dict(counts)
