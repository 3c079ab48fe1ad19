"""How far the inputs of a partition were read, and how far they have to be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from schemas.records import Millis
from streams.ownership.held import HeldCommands
from streams.ownership.ports import Committed, World

LOOK_AGAIN_MS = 1_000
"""How often to check whether any records exist below an end that was not reached."""


class InputProgress:
    """Positions of the input topics, and the ends that they had at the takeover. Pure.

    Timers must not decide until those ends are reached: records before the ends may show that
    a task ended long before its deadline.
    """

    def __init__(self, starts: Mapping[str, int], ends: Mapping[str, int]) -> None:
        self._next = {topic: starts.get(topic, 0) for topic in ends}
        self._ends = {topic: end for topic, end in ends.items() if self._next[topic] < end}
        self._looked = dict(self._next)

    def read(self, topic: str, offset: int) -> None:
        """Note that a record was taken."""
        self.read_to(topic, offset + 1)

    def read_to(self, topic: str, end: int) -> None:
        """Note that no record below ``end`` is left to be taken."""
        self._next[topic] = max(self._next.get(topic, 0), end)
        if self._next[topic] >= self._ends.get(topic, 0):
            self._ends.pop(topic, None)

    def next_of(self, topic: str) -> int:
        """The offset of the next record to be taken."""
        return self._next.get(topic, 0)

    def settled(self, committed: Mapping[str, int]) -> Mapping[str, int]:
        """By topic, the offset below which no input comes again: committed, and taken here.

        Another process may commit for the group while this one has yet to take the same inputs.
        """
        return {topic: min(offset, self.next_of(topic)) for topic, offset in committed.items()}

    def stood_still(self, topics: Iterable[str]) -> list[str]:
        """The topics that were not read since the last call."""
        still = [t for t in topics if self.next_of(t) == self._looked.get(t, 0)]
        self._looked = dict(self._next)
        return still

    @property
    def behind(self) -> Mapping[str, int]:
        """The topics that are not yet read up to the takeover, with their ends."""
        return self._ends


class Inputs:
    """The inputs of one partition: committed, read, and still to come.

    Args:
        world: asked for committed offsets and ends.
        created_topic: ``task-created``, which held commands wait for.
        clock: Unix milliseconds.
    """

    def __init__(self, world: World, *, created_topic: str, clock: Callable[[], Millis]) -> None:
        self._world = world
        self._created_topic = created_topic
        self._clock = clock
        self._progress = InputProgress({}, {})
        self._look_again_at = Millis(0)

    async def begin(self) -> Mapping[str, int]:
        """Note how far the inputs have to be read; return the committed offsets by topic.

        Call it after ``task-state`` was read: the inputs of a task that is forgotten there were
        committed before.
        """
        bounds = await self._world.input_bounds()
        committed = offsets_of(valid_commits(await self._world.committed(), bounds))
        self._progress = InputProgress(committed, {t: end for t, (_, end) in bounds.items()})
        self._look_again_at = Millis(self._clock() + LOOK_AGAIN_MS)
        return committed

    def read(self, topic: str, offset: int) -> None:
        """Note that a record was taken."""
        self._progress.read(topic, offset)

    def settled(self, committed: Mapping[str, int]) -> Mapping[str, int]:
        """As :meth:`InputProgress.settled`."""
        return self._progress.settled(committed)

    @property
    def behind(self) -> bool:
        """True until everything from before the takeover was read: timers must not decide."""
        return bool(self._progress.behind)

    @property
    def created_read_to(self) -> int:
        """The offset up to which ``task-created`` was read."""
        return self._progress.next_of(self._created_topic)

    async def see_ends(self, held: HeldCommands) -> None:
        """Find the ends that newly held commands wait for, and ranges that hold no record.

        Raises:
            KafkaUnavailableError: as from the world; nothing was noted.
        """
        created = self._created_topic
        if held.unknown_end:
            held.set_created_end((await self._world.input_bounds())[created][1])
        waiting = dict(self._progress.behind)
        if (end := held.wanted_created_end(self._clock())) is not None:
            waiting[created] = max(end, waiting.get(created, 0))
        if not waiting or self._clock() < self._look_again_at:
            return
        self._look_again_at = Millis(self._clock() + LOOK_AGAIN_MS)
        # A topic that is being read does not need a second reader that looks ahead.
        still = self._progress.stood_still(waiting)
        if still:
            await self._pass_committed()
        for topic in still:
            start, end = self._progress.next_of(topic), waiting[topic]
            if start < end and await self._world.no_input_between(topic, start, end):
                self._progress.read_to(topic, end)

    async def _pass_committed(self) -> None:
        """Count committed inputs as read.

        If an owner in this same process was deposed before, what it acknowledged may not have been
        committed when we took over, and does not come again.
        """
        for topic, offset in offsets_of(await self._world.committed()).items():
            self._progress.read_to(topic, offset)


def valid_commits(
    committed: Mapping[str, Committed], bounds: Mapping[str, tuple[int, int]]
) -> Mapping[str, Committed]:
    """The positions that do not lie beyond the ends of their topics."""
    return {t: position for t, position in committed.items() if position.offset <= bounds[t][1]}


def offsets_of(committed: Mapping[str, Committed]) -> Mapping[str, int]:
    """The offsets alone."""
    return {topic: position.offset for topic, position in committed.items()}
