"""A router process: one owner after the other, as ``streams/runtime/partitions.py`` runs them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

from schemas.records import Millis
from streams.errors import KafkaUnavailableError, OwnershipLostError, PublishError
from streams.ownership.owner import Owner
from streams.ownership.parts import OwnerParts
from streams.ownership.progress import offsets_of
from streams.ownership.settings import RouterSettings
from tasks.decision import Rules
from tests.simulation.broker import INPUTS, TOPICS, Broker
from tests.simulation.group import Group
from tests.simulation.turns import TURN
from tests.simulation.world import SimulatedArrival, SimulatedWorld

OwnerCheck = Callable[[str, Owner], None]


@dataclass(slots=True)
class Session:
    """One assignment of the partition to this process."""

    generation: int
    position: dict[str, int]
    """The next offset to be fetched of each input."""
    acked: dict[str, int]
    """The next offset to be acknowledged of each input."""
    closed: bool = False
    """True once the process knows of a rebalance: the batch under way is the last one."""
    drain_turns: int = 0
    epoch: int | None = None
    """Of the last takeover that was completed: what is acknowledged now is committed with it."""
    owner: Owner | None = None
    """The owner that is open, if any."""
    busy: bool = False
    """True while it has a batch under way."""


@dataclass(slots=True, kw_only=True)
class Process:
    """Runs in turns. Crashes at any of them."""

    name: str
    skew_ms: int
    broker: Broker
    group: Group
    rules: Rules
    settings: RouterSettings
    on_takeover: OwnerCheck
    paused_until: int = 0
    alive: bool = True
    session: Session | None = None
    world: SimulatedWorld = field(init=False)
    _coroutine: Coroutine[None, None, None] | None = None
    _commits: list[tuple[int, int, dict[str, int], int | None]] = field(default_factory=list)
    _sent: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.world = SimulatedWorld(self.name, self.broker, self.group)
        self.group.join(self.name)

    @property
    def runs(self) -> bool:
        return self.alive and self.paused_until <= self.broker.now

    @property
    def works(self) -> bool:
        """True if it runs and has, or believes to have, the partition."""
        return self.runs and (self.session is not None or self.group.assigned == self.name)

    @property
    def is_member(self) -> bool:
        return self.name in self.group.members

    @property
    def idle_owner(self) -> Owner | None:
        """Its owner, if the group agrees with it and it has no batch under way."""
        session = self.session
        if session is None or session.busy or not self.is_member:
            return None
        return session.owner if session.generation == self.group.generation else None

    def step(self) -> None:
        """Go on to the next await."""
        if self.session is not None and self._should_end(self.session):
            self._end()
        if self.session is None:
            if not self.is_member or self.group.assigned != self.name:
                return
            self._begin()
        assert self._coroutine is not None
        try:
            self._coroutine.send(None)
        except StopIteration:
            self._end()
        except (PublishError, KafkaUnavailableError):
            self.crash()

    def commit(self) -> None:
        """Send a commit of what was acknowledged; it arrives now or later."""
        session = self.session
        if session is None or session.acked == self._sent or self._commits:
            return
        self._sent = dict(session.acked)
        delay = self.broker.rng.choice((0, 0, 0, 50, 1_000))
        arrives_at = self.broker.now + delay
        self._commits.append((arrives_at, session.generation, self._sent, session.epoch))

    def land_commits(self) -> None:
        """Let commits arrive whose time has come; also those of a process that is gone."""
        while self._commits and (self.broker.calm or self._commits[0][0] <= self.broker.now):
            _, generation, offsets, epoch = self._commits.pop(0)
            self.group.commit(self.name, generation, offsets, epoch)

    def notice(self) -> None:
        """Learn of an expulsion, and join again."""
        if self.session is not None and self.broker.rng.random() < 0.5:
            self._commit_expelled(self.session)
        self._end()
        self.group.join(self.name)

    def _commit_expelled(self, session: Session) -> None:
        """Nothing: ``streams/runtime/membership.py`` refuses it."""

    def crash(self) -> None:
        """Stop at this very await. What is on the wire may still land; a commit, too."""
        self.broker.trace.add(self.broker.now, self.name, "CRASHES")
        self._end()
        self.alive = False
        self.broker.drop(self.name)

    def stop(self) -> None:
        """End the run of the simulation."""
        self._end()

    def _should_end(self, session: Session) -> bool:
        """True when a rebalance is known and the batch under way had its time."""
        if not self.is_member or session.generation == self.group.generation:
            return False
        if not session.closed:
            session.closed = True
            session.drain_turns = self.broker.rng.choice((0, 3, 20))
        session.drain_turns -= 1
        return session.drain_turns < 0

    def _begin(self) -> None:
        self.session = Session(generation=self.group.generation, position={}, acked={})
        self._sent = {}
        self._coroutine = self._serve(self.session)

    def _end(self) -> None:
        if self._coroutine is not None:
            self._coroutine.close()
        self._coroutine = self.session = None

    async def _serve(self, session: Session) -> None:
        """The loop of ``Partitions``: an owner works until it is deposed or the group moves on."""
        committed = offsets_of(self.group.committed)
        await TURN
        session.position = {topic: committed.get(topic, 0) for topic in INPUTS}
        session.acked = dict(session.position)
        self._sent = dict(session.acked)
        carried: list[SimulatedArrival] = []
        while not session.closed:
            owner = Owner(0, self._parts(), self.world)
            try:
                await owner.open()
                session.epoch = owner.epoch
                self.on_takeover(self.name, owner)
                session.owner = owner
                while not session.closed:
                    arrivals = carried or await self._take(session, owner)
                    carried = []
                    if not session.closed:
                        session.busy = True
                        await owner.handle(arrivals)
                        session.busy = False
            except OwnershipLostError:
                self.broker.trace.add(self.broker.now, self.name, "DEPOSED")
            session.owner, session.busy = None, False
            carried = carried or [a for a in owner.unfinished() if isinstance(a, SimulatedArrival)]
            for _ in range(self.broker.rng.randint(0, 10)):
                await TURN

    def _parts(self) -> OwnerParts:
        return OwnerParts(
            topics=TOPICS,
            rules=self.rules,
            settings=self.settings,
            clock=lambda: Millis(self.broker.now + self.skew_ms),
            jitter=self.broker.rng.random,
        )

    async def _take(self, session: Session, owner: Owner) -> list[SimulatedArrival]:
        """What is there, or nothing when the owner wants to be woken."""
        wait_s = owner.wakeup_s()
        until = None if wait_s is None else self.broker.now + wait_s * 1000
        while not session.closed:
            taken = self._fetch(session, owner)
            if taken or (until is not None and self.broker.now >= until):
                return taken
            await TURN
        return []

    def _fetch(self, session: Session, owner: Owner) -> list[SimulatedArrival]:
        """A few records of each input, each topic in its order."""
        found: list[SimulatedArrival] = []
        for topic in self.broker.rng.sample(INPUTS, len(INPUTS)):
            if topic == TOPICS.task_commands and owner.full:
                continue
            log, start = self.broker.topic(topic), session.position[topic]
            stop = min(len(log), start + self.broker.rng.randint(0, 3))
            for offset in range(start, stop):
                entry = log[offset]
                assert entry is not None
                found.append(SimulatedArrival(topic, offset, entry.value, self._acker(session)))
            session.position[topic] = stop
        return found

    def _acker(self, session: Session) -> Callable[[str, int], None]:
        def ack(topic: str, offset: int) -> None:
            assert session.acked[topic] == offset, f"{topic}@{offset} is acked out of order"
            session.acked[topic] = offset + 1

        return ack
