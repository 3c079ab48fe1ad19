"""What goes wrong: one fault at a time, drawn by the scheduler."""

from __future__ import annotations

from collections.abc import Callable

from schemas.records import Millis
from streams.ownership.ports import Checkpoint, Snapshot, StateRecord
from tests.simulation.broker import TOPICS, Broker
from tests.simulation.group import Group
from tests.simulation.process import Process
from tests.simulation.readers import Sink
from tests.simulation.world import is_tombstone

SESSION_MS = 600
TOMBSTONES_KEPT_MS = 50_000
"""After the first pass of the cleaner (KIP-534): longer than a takeover may stand still. In Kafka
it is a day."""
LONG_MS = Millis(22_000)
"""Longer than ended tasks are remembered, and than any deadline."""


class Faults:
    """Knows the processes by their hosts; a crashed one is followed by a new process."""

    def __init__(
        self,
        broker: Broker,
        group: Group,
        sink: Sink,
        start: Callable[[int], Process],
        *,
        hosts: int,
    ) -> None:
        self._broker, self._group, self._sink, self._start = broker, group, sink, start
        self.processes = [start(host) for host in range(hosts)]
        self.gone: list[Process] = []
        """Crashed processes: their commits may still be on the way."""
        self._expulsions: dict[str, int] = {}
        """Who will be expelled, and when."""

    def strike(self) -> None:
        """Draw a fault."""
        rng = self._broker.rng
        host = rng.randrange(len(self.processes))
        process = self.processes[host]
        if not process.alive:
            self.restart(host)
            return
        fault = rng.choices(
            (self._crash, self._pause, self._expel, self._rebalance, self._time_out, self._restore),
            weights=(30, 30, 15, 10, 5, 10),
        )[0]
        fault(process)
        self._restart_soon(host)

    def expire_sessions(self) -> None:
        """Expel those that have not been heard of for a session."""
        for process in self.processes:
            if not process.alive and process.is_member:
                self._expel_later(process)
        for name in [name for name, at in self._expulsions.items() if at <= self._broker.now]:
            del self._expulsions[name]
            self._broker.trace.add(self._broker.now, "EXPELLED", name)
            self._group.leave(name)

    def restart(self, host: int) -> None:
        """Start a new process in the place of a crashed one."""
        self.gone.append(self.processes[host])
        self.processes[host] = self._start(host)

    def heal(self) -> None:
        """No more faults: everyone runs, and the group knows who is there."""
        for at, process in enumerate(self.processes):
            process.paused_until = 0
            process.world.time_out = False
            if not process.alive:
                self.restart(at)
        self._expulsions.clear()
        for gone in self.gone:
            self._group.leave(gone.name)

    def compact(self) -> None:
        """Keep the newest record of each key, apart from the last few; old tombstones go, too."""
        log = self._broker.topic(TOPICS.task_state)
        newest: dict[object, int] = {}
        stop = len(log) - self._broker.rng.randint(0, 3)
        for offset in range(stop):
            if (entry := log[offset]) is not None:
                newest[_key(entry.value)] = offset
        for offset in range(stop):
            entry = log[offset]
            if entry is None:
                continue
            if is_tombstone(entry.value) and entry.cleaned_at is None:
                entry.cleaned_at = self._broker.now
            expired = entry.cleaned_at is not None and (
                entry.cleaned_at < self._broker.now - TOMBSTONES_KEPT_MS
            )
            if newest[_key(entry.value)] != offset or expired:
                log[offset] = None

    def wait_long(self) -> None:
        """A quiet time: deadlines pass, ended tasks may be forgotten."""
        self._broker.now += LONG_MS
        self._broker.trace.add(self._broker.now, "LONG after")

    def _restart_soon(self, host: int) -> None:
        if not self.processes[host].alive and self._broker.rng.random() < 0.7:
            self.restart(host)

    def _crash(self, process: Process) -> None:
        process.crash()
        self._expel_later(process)

    def _pause(self, process: Process) -> None:
        duration = self._broker.rng.randint(200, 5_000)
        process.paused_until = self._broker.now + duration
        self._broker.trace.add(self._broker.now, process.name, "PAUSED for", duration)
        if duration > SESSION_MS:
            self._expel_later(process)

    def _expel(self, process: Process) -> None:
        self._broker.trace.add(self._broker.now, "EXPELLED", process.name)
        self._group.leave(process.name)

    def _rebalance(self, process: Process) -> None:
        self._group.rebalance()

    def _time_out(self, process: Process) -> None:
        process.world.time_out = True
        self._broker.trace.add(self._broker.now, process.name, "gets no answer")
        self._expel_later(process)

    def _restore(self, process: Process) -> None:
        self._sink.restore()

    def _expel_later(self, process: Process) -> None:
        if process.name not in self._expulsions:
            delay = self._broker.rng.choice((0, SESSION_MS))
            self._expulsions[process.name] = self._broker.now + delay


def _key(record: object) -> object:
    assert isinstance(record, StateRecord)
    match record.content:
        case Snapshot(task_id=task_id):
            return task_id
        case Checkpoint():
            return None
    raise AssertionError("nobody else writes here")
