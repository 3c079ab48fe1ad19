"""Builders of dead letters and of actions about them."""

from typing import Any

from schemas.dead_letter_record import DeadLetter
from schemas.records import DeadLetterAction, DeadLetterActionKind, DeadLetterItem, Millis
from tasks.letters.known import KnownLetter
from tasks.letters.ledger import LetterState, LetterStatus


def a_letter(**changes: Any) -> DeadLetter:
    fields: dict[str, Any] = {
        "id": "letter-1",
        "topic": "t",
        "partition": 0,
        "offset": 17,
        "original_at": 1_000,
        "dlq_partition": 0,
        "dlq_offset": 3,
        "dead_lettered_at": 2_000,
        "group": "orchestrator.router",
        "stage": "validate",
        "failure_class": "REJECTED",
        "code": "TASK_TYPE_UNKNOWN",
        "message": "why",
        "exception": "InvalidRecordError",
        "stacktrace": "",
        "delivery_count": 1,
        "task_id": "task_1",
        "tenant_id": "acme",
        "task_type": "rag",
        "step": None,
        "service": None,
        "run": None,
        "traceparent": None,
        "replays": 0,
        "replay_of": None,
        "whole": True,
        "key": b"task_1",
        "value": b"v",
        "headers": (),
    }
    return DeadLetter(**(fields | changes))


def a_case(
    status: LetterStatus = LetterStatus.OPEN, replays: int = 0, **changes: Any
) -> KnownLetter:
    return KnownLetter(a_letter(**changes), LetterState(status=status, replays=replays))


def an_action(
    kind: DeadLetterActionKind, letter_id: str = "letter-1", *, count: int = 0, **changes: Any
) -> DeadLetterAction:
    item = DeadLetterItem(letter_id=letter_id, count=count, topic="t", partition=2, offset=9)
    fields: dict[str, Any] = {
        "action_id": "a",
        "kind": kind,
        "replay_id": "r",
        "actor": "ada",
        "reason": "because",
        "items": [item],
        "at": Millis(5_000),
    }
    return DeadLetterAction(**(fields | changes))
