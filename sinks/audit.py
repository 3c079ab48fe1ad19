"""The JSON documents of the audit trail and of an attempt's iterations. Pure.

Their members have the names of the wire format; times are Unix milliseconds, as there.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec

from schemas.records import Json, Record, SubStep, TaskEvent

_ENCODE = msgspec.json.Encoder().encode


def event_data(event: TaskEvent) -> Json:
    """The event without its JSON documents and without the values of the row's own columns.

    Inputs and outputs are stored in ``tasks`` and ``task_steps``; they may be large.
    """
    document: dict[str, Any] = {
        "event_id": event.event_id,
        "sequence": event.sequence,
        "run": event.run,
        "status": event.status,
        "phase": event.phase,
        "priority": event.priority,
        "owner": event.owner,
        "owner_epoch": event.owner_epoch,
        "cause_topic": event.cause_topic,
        "cause_partition": event.cause_partition,
        "cause_offset": event.cause_offset,
        "task": event.task and _without(event.task, _SPEC_DOCUMENTS),
        "step": event.step and _without(event.step, _STEP_DOCUMENTS),
        "dispatched": [_without(step, _STEP_DOCUMENTS) for step in event.dispatched] or None,
        "error": event.error,
        "usage": event.usage,
        "reason": event.reason,
    }
    return _text({name: value for name, value in document.items() if value is not None})


def substeps_document(substeps: Sequence[SubStep]) -> Json | None:
    """A step's iterations with documents as JSON, not as text; None if it has no iterations."""
    if not substeps:
        return None
    return _text(
        [
            {
                "name": substep.name,
                "status": substep.status,
                "input": msgspec.Raw(substep.input.encode()),
                "output": msgspec.Raw(substep.output.encode()),
                "error": substep.error,
                "started_at": substep.started_at,
                "completed_at": substep.completed_at,
                "usage": substep.usage,
            }
            for substep in substeps
        ]
    )


_SPEC_DOCUMENTS = frozenset({"task_id", "tenant_id", "input", "metadata", "kept_outputs"})
_STEP_DOCUMENTS = frozenset({"input", "output", "substeps"})


def _without(record: Record, names: frozenset[str]) -> dict[str, Any]:
    kept = _kept(type(record), names)
    return {name: value for name in kept if (value := getattr(record, name)) is not None}


@cache
def _kept(kind: type[Record], names: frozenset[str]) -> tuple[str, ...]:
    return tuple(name for name in kind.__struct_fields__ if name not in names)


def _text(document: object) -> Json:
    return Json(_ENCODE(document).decode())
