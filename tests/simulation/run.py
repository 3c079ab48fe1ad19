"""One run of the simulated system, all of it drawn from one seed."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from random import Random

import structlog

from schemas.records import TaskEvent
from streams.ownership.progress import offsets_of
from streams.ownership.settings import RouterSettings
from tasks.decision import Rules
from tasks.pipeline_file import load_pipelines
from tasks.task import Phase
from tests.simulation.broker import INPUTS, TOPICS, Broker, Entry, Trace
from tests.simulation.clients import TIMEOUT_MAX_MS, Clients
from tests.simulation.faults import Faults
from tests.simulation.group import Group
from tests.simulation.history import History, ViolationError
from tests.simulation.process import Process
from tests.simulation.readers import Replica, Sink
from tests.simulation.switches import without
from tests.simulation.verdict import Verdict
from tests.simulation.worker import Worker
from tests.simulation.world import is_tombstone

RULES = Rules(
    pipelines=load_pipelines(),
    default_timeout_ms=TIMEOUT_MAX_MS,
    max_timeout_ms=TIMEOUT_MAX_MS,
    remember_ms=TIMEOUT_MAX_MS,
    remember_failed_ms=TIMEOUT_MAX_MS,
)
SETTINGS = RouterSettings(snapshot_interval_s=0.4, snapshot_events=6, hold_s=0.8, held_max=3)
_REPLICAS_MAX = 3
_CALM_TURNS = 8_000
"""In which all work must come to an end once the faults have stopped."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    seed: int
    violation: str | None
    turns: int
    epochs: int
    ignored: int
    """Events of former owners that nobody counts: without any, zombies were not tested."""
    trace: list[str]


def run(seed: int, *, off: str | None = None, trace: bool = False) -> Outcome:
    """Run a seed, perhaps without a rule; the same seed always gives the same outcome."""
    with _quiet(), without(off):
        simulation = Simulation(seed, trace=trace)
        violation = None
        try:
            simulation.run()
        except ViolationError as error:
            violation = str(error)
        # Whatever else is raised is a fault of the code under test.
        except Exception as error:
            violation = f"raised: {type(error).__name__}: {error}"
            simulation.broker.trace.lines += traceback.format_exc().splitlines()
        finally:
            simulation.close()
    return Outcome(
        seed,
        violation,
        simulation.turns,
        simulation.history.epochs,
        simulation.history.ignored,
        simulation.broker.trace.lines,
    )


class Simulation:
    """The parts of the system, and the scheduler that draws what happens next."""

    def __init__(self, seed: int, *, trace: bool) -> None:
        self.rng = Random(seed)
        self.turns = 0
        self.broker = Broker(self.rng, Trace(on=trace), now=1_000_000)
        self.broker.landed = self._landed
        self.group = Group(self.broker)
        self.history = History(RULES.pipelines)
        self.verdict = Verdict(self.broker, self.group, self.history)
        self._started = 0
        self.clients = Clients(self.broker)
        self.worker = Worker(self.broker)
        self.sink = Sink(self.broker)
        self.replicas: list[Replica] = []
        hosts = self.rng.choice((2, 2, 3))
        self.faults = Faults(self.broker, self.group, self.sink, self._start, hosts=hosts)
        self._faults_left = self.rng.randint(0, 8)
        odds = self._odds()
        self._actions = list(odds)
        self._weights = list(accumulate(odds.values()))

    def _odds(self) -> dict[Callable[[], object], int]:
        """What may happen next, and how often of a thousand times."""
        return {
            self._step: 500,
            self.broker.land_some: 180,
            self.worker.step: 80,
            self._publish: 40,
            self._commit: 80,
            self._notice: 8,
            self.sink.step: 30,
            self.faults.compact: 20,
            self._help_to_end: 12,
            self._start_replica: 5,
            self._strike: 20,
            self._wait_long: 3,
        }

    def run(self) -> None:
        """Faults first, then a calm in which everything must end, then the verdict."""
        for _ in range(self.rng.randint(150, 500)):
            self._turn()
        self.faults.heal()
        self.broker.calm = True
        for _ in range(_CALM_TURNS):
            self._turn()
            if self.turns % 16 == 0 and self._settled():
                break
        else:
            raise ViolationError(f"never_settles: committed {self.group.committed}")
        self._judge()

    def close(self) -> None:
        """Close the coroutines that are still under way."""
        for process in self.faults.processes:
            process.stop()

    def _turn(self) -> None:
        self.turns += 1
        self.broker.now += self.rng.randint(0, 25)
        self.faults.expire_sessions()
        for process in (*self.faults.processes, *self.faults.gone):
            process.land_commits()
        self.rng.choices(self._actions, cum_weights=self._weights)[0]()

    def _step(self) -> None:
        if working := [process for process in self.faults.processes if process.works]:
            self.rng.choice(working).step()

    def _commit(self) -> None:
        if working := [process for process in self.faults.processes if process.works]:
            self.rng.choice(working).commit()

    def _notice(self) -> None:
        for process in self.faults.processes:
            if process.runs and not process.is_member:
                process.notice()
                return

    def _publish(self) -> None:
        if self.clients.orders:
            self.clients.publish()

    def _start_replica(self) -> None:
        if len(self.replicas) < _REPLICAS_MAX:
            self.replicas.append(Replica(self.broker, RULES))

    def _strike(self) -> None:
        if self._faults_left and not self.broker.calm:
            self._faults_left -= 1
            self.faults.strike()

    def _wait_long(self) -> None:
        if not self.broker.calm:
            self.faults.wait_long()

    def _start(self, host: int) -> Process:
        self._started += 1
        return Process(
            name=f"router-{host}.{self._started}",
            skew_ms=self.rng.randint(-1_000, 1_000),
            broker=self.broker,
            group=self.group,
            rules=RULES,
            settings=SETTINGS,
            on_takeover=self.verdict.at_takeover,
        )

    def _landed(self, topic: str, offset: int, entry: Entry) -> None:
        if topic == TOPICS.task_events:
            assert isinstance(entry.value, TaskEvent)
            self.history.add(offset, entry)
        elif topic == TOPICS.task_state and is_tombstone(entry.value):
            self.history.note_tombstone(entry.value)

    def _help_to_end(self) -> None:
        """Once the faults have stopped: release held tasks, and let idle owners find out."""
        if not self.broker.calm:
            return
        if self._all_ended() and self.rng.random() < 0.1:
            # An owner that has nothing to do does not notice that a zombie took over.
            self.group.rebalance()
        for task_id, task in self.history.tasks().items():
            if task.phase is Phase.HELD and self.rng.random() < 0.3:
                self.clients.release(task_id)

    def _settled(self) -> bool:
        committed = offsets_of(self.group.committed)
        return (
            not self.clients.orders
            and self.broker.quiet
            and self.worker.idle
            and all(committed.get(t, 0) == self.broker.end(t) for t in INPUTS)
            and self._all_ended()
            and all(process.is_member for process in self.faults.processes)
            and any(self._is_up_to_date(process) for process in self.faults.processes)
        )

    def _all_ended(self) -> bool:
        return all(task.status.terminal for task in self.history.tasks().values())

    def _is_up_to_date(self, process: Process) -> bool:
        """True if the owner that the group names is the one that the log names."""
        owner = process.idle_owner
        return owner is not None and self.history.owner == owner._log.ownership

    def _judge(self) -> None:
        owners = {
            process.name: process.idle_owner
            for process in self.faults.processes
            if process.idle_owner is not None
        }
        self.verdict.at_end(owners)
        self.verdict.reader("the sink", self.sink.finish(), forgets=False)
        for replica in self.replicas:
            name = f"the replica that started at {replica.started_at}"
            self.verdict.reader(name, replica.finish(), forgets=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the log lines of owners."""
    config = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**config)
