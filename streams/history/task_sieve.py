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

    From the log's first record on (``whole``) it judges by the acceptance rule alone. One that
    begins in the middle does not know who owned the partition there, and learns it: an owner
    writes only when its marker is proved, so whoever wrote an event owned its epoch, and who
    writes with a higher epoch came later. What it can get wrong that way shows as a
    contradiction about the task: then ``doubtful`` says that only the whole log can tell.
    """

    task_id: TaskId
    whole: bool
    ownership: Ownership | None = None
    doubtful: bool = False

    def take(self, record: Origin) -> TaskEvent | None:
        """The event, if the record is one of the task and counts.

        Records of other tasks are not even decoded: a marker has no key. A record that nobody
        can read was written by nobody who owns the partition.
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
