"""Malformed and hostile records for every consumed topic, from a seed."""

import io
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import fastavro
import msgspec

from schemas.codec import encode
from schemas.records import (
    CommandKind,
    EventKind,
    Millis,
    Record,
    ResultKind,
    StepCommand,
    StepName,
    StepResult,
    TaskCommand,
    TaskCreated,
    TaskEvent,
    TaskId,
)
from schemas.topics import Topics
from tests.e2e.driving import a_rag_task
from tests.e2e.test_bad_input import BAD
from tests.schemas.codec.reference import NEWEST, without_logical_types

IDS = {"TaskCreated": 101, "TaskCommand": 111, "StepCommand": 121, "StepResult": 131}
IDS["TaskEvent"] = 141
_PAST = Millis(1_700_000_000_000)


@dataclass(frozen=True, slots=True)
class Hostile:
    """A record to publish, and what has to become of it."""

    topic: str
    key: bytes | None
    value: bytes | None
    bad: bool
    """It must become a dead letter; else it may, or it is processed."""
    code: str | None = None
    """The code that it must have, where it is known."""
    as_sent: bool = True
    """Its letter holds key and value as they were sent; else it is cut, or it is a batch."""


def hostile_records(topics: Topics, count: int, seed: int) -> Iterator[Hostile]:
    """``count`` records, over all consumed topics in turn."""
    rng = random.Random(seed)
    targets = _targets(topics)
    made = 0
    while made < count:
        topic, base = targets[made % len(targets)]
        record = _one(rng, topic, base(rng), made // len(targets))
        if record is not None:
            made += 1
            yield record


def _targets(topics: Topics) -> list[tuple[str, Callable[[random.Random], Record]]]:
    steps: list[tuple[str, Callable[[random.Random], Record]]] = [
        (name, a_command_for(step))
        for step in ("retrieve", "generate")
        for name in topics.lanes(StepName(step))
    ]
    return [
        (topics.task_created, lambda rng: a_rag_task()),
        (topics.task_commands, an_order),
        (topics.step_results, a_report),
        (topics.task_events, a_forged_event),
        *steps,
    ]


def _one(rng: random.Random, topic: str, base: Record, turn: int) -> Hostile | None:
    """One record; None if it came out as what only a router may write."""
    name = type(base).__name__
    key: bytes | None = _key_of(base)
    if isinstance(base, TaskCreated) and rng.random() < 0.2:
        code, build = BAD[rng.choice(sorted(BAD))]
        bad_key, bad_value = build()
        return Hostile(topic, bad_key, bad_value, bad=True, code=code)
    value = rng.choice(_MUTATIONS)(rng, encode(base), turn)
    if rng.random() < 0.1:
        key = rng.choice([None, b"", b"\xff\xfe", rng.randbytes(40), b"\x1b[2J\x00"])
    fields = decoded(value, name)
    if fields is not None and fields.get("kind") == "ownership_taken":
        return None
    return Hostile(topic, key, value, bad=fields is None)


def decoded(value: bytes | None, record: str) -> dict[str, Any] | None:
    """What fastavro alone makes of a value; None if nobody can read it as this record."""
    if value is None or value[:5] != b"\x00" + IDS[record].to_bytes(4, "big"):
        return None
    body = io.BytesIO(value[5:])
    try:
        fields: Any = fastavro.schemaless_reader(body, _SCHEMAS[record])
    except Exception:  # hostile bytes fail in many ways
        return None
    return None if body.read(1) else dict(fields)


_SCHEMAS = {name: fastavro.parse_schema(without_logical_types(NEWEST[name].schema)) for name in IDS}


def an_order(rng: random.Random) -> Record:
    """A command for a task that nobody created."""
    return TaskCommand(
        command_id="c",
        task_id=_nobody(rng),
        tenant_id="acme",
        kind=rng.choice(list(CommandKind)),
        actor="eve",
        issued_at=_PAST,
    )


def a_report(rng: random.Random) -> Record:
    """A result of a command that nobody sent."""
    task_id = _nobody(rng)
    return StepResult(
        command_id=f"{task_id}/1/retrieve/1",  # type: ignore[arg-type]
        task_id=task_id,
        tenant_id="acme",
        step=StepName("retrieve"),
        kind=rng.choice(list(ResultKind)),
        started_at=_PAST,
    )


def a_forged_event(rng: random.Random) -> Record:
    """An event of somebody who owns nothing."""
    return TaskEvent(
        event_id="e",
        task_id=_nobody(rng),
        tenant_id="acme",
        kind=rng.choice([EventKind.CREATED, EventKind.COMPLETED, EventKind.STARTED]),
        sequence=1,
        occurred_at=_PAST,
        owner="nobody",
        owner_epoch=0,
    )


def a_command_for(step: str) -> Callable[[random.Random], Record]:
    def build(rng: random.Random) -> Record:
        task_id = _nobody(rng)
        return StepCommand(
            command_id=f"{task_id}/1/{step}/1",  # type: ignore[arg-type]
            task_id=task_id,
            tenant_id="acme",
            step=StepName(step),
            pipeline="rag",
            timeout_ms=1_000,
            deadline_at=_PAST,
            dispatched_at=_PAST,
        )

    return build


def _nobody(rng: random.Random) -> TaskId:
    return TaskId(f"hostile_{rng.getrandbits(48):x}")


def _key_of(base: Record) -> bytes:
    return str(msgspec.to_builtins(base)["task_id"]).encode()


def _random(rng: random.Random, value: bytes, turn: int) -> bytes:
    return rng.randbytes(rng.randrange(200))


def _random_body(rng: random.Random, value: bytes, turn: int) -> bytes:
    return value[:5] + rng.randbytes(rng.randrange(200))


def _truncated(rng: random.Random, value: bytes, turn: int) -> bytes:
    return value[: turn % len(value)]  # at each byte, in turn


def _flipped(rng: random.Random, value: bytes, turn: int) -> bytes:
    changed = bytearray(value)
    for _ in range(rng.randrange(1, 4)):
        changed[rng.randrange(5, len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _spliced(rng: random.Random, value: bytes, turn: int) -> bytes:
    begin, end = sorted(rng.randrange(5, len(value)) for _ in range(2))
    return value[:begin] + rng.randbytes(rng.randrange(8)) + value[end:]


def _longer(rng: random.Random, value: bytes, turn: int) -> bytes:
    return value + rng.randbytes(rng.randrange(1, 50))


def _of_another_schema(rng: random.Random, value: bytes, turn: int) -> bytes:
    wrong = rng.choice([*IDS.values(), 0, 1, 999, 2**32 - 1])
    return b"\x00" + wrong.to_bytes(4, "big") + value[5:]


def _of_another_magic(rng: random.Random, value: bytes, turn: int) -> bytes:
    return bytes([rng.randrange(1, 256)]) + value[1:]


def _huge_numbers(rng: random.Random, value: bytes, turn: int) -> bytes:
    """Lengths and counts of 2**62, and numbers of any length."""
    place = rng.randrange(5, len(value))
    number = rng.choice([b"\xfe" + b"\xff" * 7 + b"\x7f", b"\xff" * rng.randrange(1, 60) + b"\x01"])
    return value[:place] + number + value[place:]


def _huge(rng: random.Random, value: bytes, turn: int) -> bytes:
    # Rarely: a megabyte each.
    size = 1024 * 1024 if rng.random() < 0.02 else 2_000
    return value + b"\x00" * size


_MUTATIONS: list[Callable[[random.Random, bytes, int], bytes]] = [
    _random,
    _random_body,
    _truncated,
    _flipped,
    _spliced,
    _longer,
    _of_another_schema,
    _of_another_magic,
    _huge_numbers,
    _huge,
]
