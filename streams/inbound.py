"""The router's input: from bytes to an input of the rules, or a reason to refuse. Pure."""

from dataclasses import dataclass

from schemas.codec import decode
from schemas.dead_letter import Origin
from schemas.limits import Limits
from schemas.records import StepResult, TaskCommand, TaskCreated
from schemas.topics import Topics
from tasks.identity import check_key
from tasks.inputs import Cause, Commanded, Created, Input, Reported


@dataclass(frozen=True, slots=True)
class Inbound:
    """Reads the records of the router's input topics."""

    topics: Topics
    limits: Limits

    def read(self, record: Origin) -> Input:
        """Decode a record and check its key.

        Raises:
            DecodeError: the record cannot be decoded.
            InvalidRecordError: the record's key is not its task's id.
        """
        cause = Cause(record.topic, record.partition, record.offset)
        max_bytes = self.limits.record_max_bytes
        if record.topic == self.topics.task_created:
            created = decode(record.value, TaskCreated, max_bytes=max_bytes)
            check_key(record.key, created.task_id)
            return Created(cause, created)
        if record.topic == self.topics.task_commands:
            command = decode(record.value, TaskCommand, max_bytes=max_bytes)
            check_key(record.key, command.task_id)
            return Commanded(cause, command)
        result = decode(record.value, StepResult, max_bytes=max_bytes)
        check_key(record.key, result.task_id)
        return Reported(cause, result)
