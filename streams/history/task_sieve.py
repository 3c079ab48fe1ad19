"""Which records of a partition are accepted events of one task. Pure."""

from dataclasses import dataclass

from schemas.codec import decode
from schemas.dead_letter import Origin
from schemas.errors import DecodeError
from schemas.records import EventKind, TaskEvent, TaskId
from streams.history.acceptance import Ownership, accept


@dataclass(slots=True)
class TaskSieve:
    """Takes the records of a partition of ``task-events`` in order, and lets few through.

    A sieve that begins with the log's first record (``whole``) uses the acceptance rule alone. A
    sieve that begins in the middle does not know the owner there, and learns it: an owner writes
    only after its marker is proved, so the writer of an event owned its epoch, and a writer with a
    higher epoch came later. An error of this method shows as a contradiction about the task: then
    ``doubtful`` is true, and only the whole log can decide.
    """

    task_id: TaskId
    whole: bool
    ownership: Ownership | None = None
    doubtful: bool = False

    def take(self, record: Origin) -> TaskEvent | None:
        """Return the record's event if it is an accepted event of the task, otherwise None.

        Records of other tasks are not even decoded: a marker has no key. A record that cannot be
        decoded was not written by an owner.
        """
        ours = record.key == self.task_id.encode()
        unknown = self.ownership is None and not self.whole
        if not ours and record.key and not unknown:
            return None
        try:
            event = decode(record.value, TaskEvent)
        except DecodeError:
            return None
        accepted = self._accept(event)
        if accepted is None:
            self.doubtful |= ours and not self.whole
            return None
        self.ownership = accepted
        return event if ours and event.kind is not EventKind.OWNERSHIP_TAKEN else None

    def _accept(self, event: TaskEvent) -> Ownership | None:
        later = self.ownership is None or event.owner_epoch > self.ownership.epoch
        if not self.whole and later:
            return Ownership(event.owner_epoch, event.owner)
        return accept(self.ownership, event)
