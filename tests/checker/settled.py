"""Which events' effects must be there already: a system may be in motion while it is read."""

from tests.checker.evidence import Evidence
from tests.checker.log import Log, Logged
from tests.checker.snapshots import checkpoints


class Settled:
    """Up to where each partition's events are done.

    Effects come before acknowledgements, and those are in order: with a committed cause, or
    below a checkpoint, an event and all before it are done.

    Args:
        quiet: nothing was under way when the evidence was read, so everything is done.
    """

    def __init__(self, evidence: Evidence, log: Log, *, quiet: bool) -> None:
        self._quiet = quiet
        self._done: dict[int, int] = {}
        for cause, events in log.by_cause.items():
            if cause[2] < evidence.commit_of("router", cause[0], cause[1]):
                for logged in events:
                    self._raise(logged.partition, logged.offset)
        for checkpoint in checkpoints(evidence):
            self._raise(checkpoint.record.partition, checkpoint.offset - 1)

    def is_done(self, logged: Logged) -> bool:
        return self._quiet or logged.offset <= self._done.get(logged.partition, -1)

    def _raise(self, partition: int, offset: int) -> None:
        self._done[partition] = max(offset, self._done.get(partition, -1))
