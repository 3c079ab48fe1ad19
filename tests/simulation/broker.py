"""A broker of single-partition topics, and the wire on which produce requests travel.

A request lands when the scheduler says so: at once, much later, long after its sender
crashed, or never. Requests of one sender to one topic land in their order, as those of an
idempotent producer do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from schemas.topics import Topics, TopicsSettings

TOPICS = Topics(TopicsSettings(partitions=1))
INPUTS = tuple(TOPICS.router_inputs)
STEPS = "steps"
"""All steps and lanes in one topic: who reads which one is not what is simulated."""
DEAD = "dlq"


class Trace:
    """What happened, line by line; costs nothing while it is off."""

    def __init__(self, *, on: bool) -> None:
        self.on = on
        self.lines: list[str] = []

    def add(self, now: int, *words: object) -> None:
        if self.on:
            self.lines.append(f"{now:7} " + " ".join(str(word) for word in words))


@dataclass(slots=True)
class Entry:
    """A record in a topic."""

    value: object
    at: int
    """When it landed."""
    sender: str
    request: int
    """Records of one call of ``produce`` have the same number."""
    cleaned_at: int | None = None
    """When the cleaner met a tombstone first."""


@dataclass(slots=True)
class Request:
    """A produce request. ``offset`` is None until it landed."""

    sender: str
    topic: str
    values: Sequence[object]
    number: int
    lands_at: int
    offset: int | None = None


@dataclass(slots=True)
class Broker:
    """Topics by name; a compacted record leaves None in its place."""

    rng: Random
    trace: Trace
    now: int = 0
    topics: dict[str, list[Entry | None]] = field(default_factory=dict)
    landed: Callable[[str, int, Entry], None] = lambda topic, offset, entry: None
    calm: bool = False
    """True once the faults have stopped: every request lands at once."""
    _wire: dict[tuple[str, str], deque[Request]] = field(default_factory=dict)
    _requests: int = 0

    def topic(self, name: str) -> list[Entry | None]:
        return self.topics.setdefault(name, [])

    def end(self, name: str) -> int:
        return len(self.topic(name))

    def append(self, sender: str, topic: str, value: object) -> int:
        """A record of someone who is not simulated further: it lands now."""
        self._requests += 1
        return self._land(Request(sender, topic, [value], self._requests, self.now))

    def produce(self, sender: str, topic: str, parts: Sequence[Sequence[object]]) -> list[Request]:
        """Put records on the wire, as one request or in parts."""
        self._requests += 1
        requests = []
        for values in parts:
            lands_at = self.now + self._delay_ms()
            requests.append(Request(sender, topic, values, self._requests, lands_at))
        self._wire.setdefault((sender, topic), deque()).extend(requests)
        return requests

    def land_some(self) -> bool:
        """Let one request land, if one is due."""
        due = [key for key, queue in self._wire.items() if self.calm or self._is_due(queue)]
        if not due:
            return False
        key = self.rng.choice(due)
        request = self._wire[key].popleft()
        if not self._wire[key]:
            del self._wire[key]
        self._land(request)
        return True

    def drop(self, sender: str) -> None:
        """Its connections broke: of each topic's requests the last ones may never land."""
        for key in [key for key in self._wire if key[0] == sender]:
            queue = self._wire[key]
            kept = self.rng.randint(0, len(queue))
            while len(queue) > kept:
                self.trace.add(self.now, sender, "LOST", key[1], _brief(queue.pop().values))
            if not queue:
                del self._wire[key]

    @property
    def quiet(self) -> bool:
        return not self._wire

    def _is_due(self, queue: deque[Request]) -> bool:
        return queue[0].lands_at <= self.now

    def _delay_ms(self) -> int:
        """Most land at once, some a little later, a few long after their sender's session."""
        luck = self.rng.random()
        if self.calm or luck < 0.75:
            return 0
        return self.rng.randint(20, 200) if luck < 0.93 else self.rng.randint(400, 5_000)

    def _land(self, request: Request) -> int:
        log = self.topic(request.topic)
        request.offset = len(log)
        if self.trace.on:
            where = f"{request.topic.removeprefix('orchestrator.')}@{request.offset}"
            self.trace.add(self.now, request.sender, "LANDS", where, _brief(request.values))
        for value in request.values:
            entry = Entry(value, self.now, request.sender, request.number)
            log.append(entry)
            self.landed(request.topic, len(log) - 1, entry)
        return request.offset


def _brief(values: Sequence[object]) -> str:
    return ", ".join(describe(value) for value in values)


def describe(value: object) -> str:
    """A record in a few words, for the trace."""
    names = ("kind", "task_id", "sequence", "owner_epoch", "command_id", "as_of", "offset")
    for inner in ("content", "command", "control"):
        value = getattr(value, inner, value)
    found = [f"{name}={getattr(value, name)}" for name in names if hasattr(value, name)]
    return f"{type(value).__name__}({' '.join(found)})" if found else str(value)
