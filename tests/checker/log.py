"""The log of events: which of them count, by the acceptance rule in its own words."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.checker.evidence import Evidence
from tests.checker.lives import is_former, made_again
from tests.checker.verdict import Findings
from tests.checker.wire import Position, Value, decode, home_of

MARKER = "ownership_taken"


@dataclass(frozen=True, slots=True)
class Logged:
    """An accepted event and its place."""

    position: Position
    event: Value = field(repr=False)

    @property
    def offset(self) -> int:
        return self.position[2]

    @property
    def partition(self) -> int:
        return self.position[1]

    @property
    def kind(self) -> str:
        return str(self.event["kind"])

    @property
    def task_id(self) -> str:
        return str(self.event["task_id"])

    @property
    def cause(self) -> Position | None:
        """The input that it decides; None for a timer."""
        event = self.event
        if event["cause_offset"] < 0:
            return None
        return event["cause_topic"], event["cause_partition"], event["cause_offset"]


@dataclass(slots=True)
class Log:
    """The accepted events of all partitions."""

    histories: dict[str, list[Logged]] = field(default_factory=lambda: defaultdict(list))
    """By task, in the log's order."""
    by_cause: dict[Position, list[Logged]] = field(default_factory=lambda: defaultdict(list))
    owners: dict[int, list[tuple[int, int, str]]] = field(default_factory=lambda: defaultdict(list))
    """By partition: offset of the accepted marker, epoch, owner."""

    def events(self) -> Iterator[Logged]:
        for history in self.histories.values():
            yield from history

    def owner_before(self, partition: int, offset: int) -> tuple[int, str] | None:
        """Who owned a partition just before an offset."""
        found = [(epoch, owner) for at, epoch, owner in self.owners[partition] if at < offset]
        return found[-1] if found else None


def read_log(evidence: Evidence, findings: Findings) -> Log:
    """Accept events: a marker counts the epoch up by one, an event needs the last marker's."""
    log, lives = Log(), made_again(evidence)
    for partition in range(evidence.partitions):
        _read_partition(evidence, partition, log, findings)
    for cause, events in list(log.by_cause.items()):
        log.by_cause[cause] = [
            logged for logged in events if not is_former(lives, cause, logged.event["occurred_at"])
        ]
        if not log.by_cause[cause]:
            del log.by_cause[cause]
    findings.statistics.tasks = len(log.histories)
    return log


def _read_partition(evidence: Evidence, partition: int, log: Log, findings: Findings) -> None:
    current: tuple[int, str] | None = None
    seen = findings.statistics
    for record in evidence.partition("task-events", partition):
        event = decode(record.value, "TaskEvent")
        if event is None:
            continue
        claim = (event["owner_epoch"], event["owner"])
        if event["kind"] == MARKER:
            if current is None or claim[0] == current[0] + 1:
                current = claim
                log.owners[partition].append((record.offset, *claim))
                seen.markers += 1
            else:
                seen.ignored_events += 1
        elif current is None or claim != current:
            seen.ignored_events += 1
            former = {(epoch, owner) for _, epoch, owner in log.owners[partition][:-1]}
            seen.zombie_events += claim in former
        else:
            logged = Logged(record.position, event)
            seen.events += 1
            log.histories[logged.task_id].append(logged)
            if logged.cause is not None:
                log.by_cause[logged.cause].append(logged)
            key = logged.task_id.encode()
            if record.key != key or home_of(key, evidence.partitions) != partition:
                findings.add(
                    "EVENT_MISPLACED", record.position, "key or partition is not its task's"
                )
