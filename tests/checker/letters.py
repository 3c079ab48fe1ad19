"""Dead letters: byte for byte their origin, and headers that say why."""

import hashlib
import uuid
from collections import defaultdict

from tests.checker.evidence import Evidence
from tests.checker.lives import is_former, made_again
from tests.checker.verdict import Findings
from tests.checker.wire import Headers, Kept, Position, decode

STAGES = ("decode", "validate", "route", "execute", "publish", "sink")
CLASSES = ("POISON", "PERMANENT", "TRANSIENT_EXHAUSTED", "TIMEOUT", "DEADLINE", "REJECTED")
REQUIRED = (
    "__dlq.id",
    *(
        f"__dlq.errors.{name}"
        for name in (
            "topic",
            "partition",
            "offset",
            "group",
            "delivery.count",
            "message",
            "exception.class.name",
            "exception.stacktrace",
            "stage",
            "class",
            "code",
            "timestamp",
            "original.timestamp",
        )
    ),
    "x-original-topic",
    "kafka_dlt-original-topic",
)
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "ai-orchestrator/dead-letter")
STACKTRACE_MAX_BYTES = 8 * 1024
CUT = "__dlq.cut.value.bytes"


class Letters:
    """All dead letters, by the position of their origin."""

    def __init__(self, evidence: Evidence) -> None:
        self.all = list(evidence.of_topics(f"dlq.{evidence.prefix}"))
        self._prefix = evidence.prefix
        self._lives = made_again(evidence)
        self._found: dict[tuple[Position, str], list[Kept]] = defaultdict(list)
        self._commands: dict[str, str] = {}
        """By the id of a step's command, the class of its letter."""
        for letter in self.all:
            origin, group = origin_of(letter), letter.header("__dlq.errors.group") or ""
            if origin is not None and not self.is_former(letter, origin):
                self._found[origin, group.removeprefix(self._prefix)].append(letter)
            if letter.header("__dlq.errors.stage") == "execute":
                command = decode(letter.value, "StepCommand")
                failure_class = letter.header("__dlq.errors.class") or ""
                self._commands[command["command_id"] if command else ""] = failure_class

    def is_former(self, letter: Kept, origin: Position) -> bool:
        """Whether a letter's record was in a topic that was made again since."""
        at_ms = letter.header("__dlq.errors.timestamp") or ""
        return at_ms.isdecimal() and is_former(self._lives, origin, int(at_ms))

    def of(self, origin: Position, group: str) -> bool:
        """Whether a group has dead-lettered the record at a position."""
        return (origin, group) in self._found

    def holds_command(self, command_id: str) -> bool:
        """Whether a step's command was dead-lettered because the step failed for good."""
        return command_id in self._commands

    def holds_deadline(self, task_id: str, run: int, command_id: str | None) -> bool:
        """Whether a command of a run was dead-lettered because the task's deadline passed.

        Of a held task no command was sent: any of its run will do.
        """
        if command_id is not None:
            return self._commands.get(command_id) == "DEADLINE"
        begin = f"{task_id}/{run}/"
        return any(
            failure_class == "DEADLINE" and found.startswith(begin)
            for found, failure_class in self._commands.items()
        )


def origin_of(letter: Kept) -> Position | None:
    """Where the original record is, by the letter's headers."""
    topic = letter.header("__dlq.errors.topic")
    partition, offset = (
        letter.header("__dlq.errors.partition"),
        letter.header("__dlq.errors.offset"),
    )
    try:
        return (topic, int(partition or ""), int(offset or "")) if topic else None
    except ValueError:
        return None


def check_letters(evidence: Evidence, letters: Letters, findings: Findings) -> None:
    """Check every dead letter against its origin."""
    seen: dict[str, Position] = {}
    for letter in letters.all:
        findings.statistics.dead_letters += 1
        missing = [name for name in REQUIRED if letter.header(name) is None]
        origin = origin_of(letter)
        if missing or origin is None:
            findings.add("LETTER_HEADERS_WRONG", letter.position, f"missing: {missing}")
            continue
        for what in _wrong_headers(letter, origin):
            findings.add("LETTER_HEADERS_WRONG", letter.position, what)
        dead_letter_id = letter.header("__dlq.id") or ""
        findings.statistics.duplicate_letters += dead_letter_id in seen
        if seen.setdefault(dead_letter_id, origin) != origin:
            findings.add("LETTER_HEADERS_WRONG", letter.position, "another letter has its id")
        record = evidence.at(origin)
        if letters.is_former(letter, origin):
            continue
        if record is not None:
            _compare(letter, record, findings)
        elif not evidence.expired(origin) and origin[2] >= 0:
            findings.add("LETTER_OF_NOTHING", letter.position, f"no record at {origin}")


def _wrong_headers(letter: Kept, origin: Position) -> list[str]:
    group = letter.header("__dlq.errors.group")
    topic, partition, offset = origin
    # What was not sent, or was sent nobody knows where, is known by its own id.
    place = letter.header("ce_id") if offset < 0 else offset
    expected_id = uuid.uuid5(NAMESPACE, "\0".join([str(group), topic, str(partition), str(place)]))
    trace = letter.header("__dlq.errors.exception.stacktrace") or ""
    checks = {
        "not in the topic or the partition of its origin": letter.topic == f"dlq.{origin[0]}"
        and letter.partition == origin[1],
        "id": letter.header("__dlq.id") == str(expected_id),
        "stage": letter.header("__dlq.errors.stage") in STAGES,
        "class": letter.header("__dlq.errors.class") in CLASSES,
        "code": (letter.header("__dlq.errors.code") or "").isupper(),
        "aliases": letter.header("x-original-topic") == origin[0]
        and letter.header("kafka_dlt-original-topic") == origin[0],
        "delivery count": (letter.header("__dlq.errors.delivery.count") or "").isdecimal(),
        "stack trace is too long": len(trace.encode()) <= STACKTRACE_MAX_BYTES,
    }
    return [what for what, right in checks.items() if not right]


def _compare(letter: Kept, record: Kept, findings: Findings) -> None:
    ours = ("__dlq.", "x-original-topic", "kafka_dlt-original-topic")
    if letter.header(CUT) is not None:
        _compare_cut(letter, record, findings)
        return
    if (letter.key, letter.value) != (record.key, record.value):
        findings.add("LETTER_DIFFERS", letter.position, f"key or value of {record.position}")
    if letter.header("__dlq.errors.stage") == "execute":
        # Made again from state: it has the command's bytes, but no headers of its own.
        return
    count = len(record.headers)
    added: Headers = letter.headers[count:]
    if letter.headers[:count] != record.headers:
        findings.add("LETTER_DIFFERS", letter.position, f"headers of {record.position}")
    elif not all(name.startswith(ours) for name, _ in added):
        findings.add("LETTER_DIFFERS", letter.position, "headers that the origin has not")
    if letter.header("__dlq.errors.original.timestamp") != str(record.timestamp_ms):
        findings.add("LETTER_HEADERS_WRONG", letter.position, "the origin's timestamp")


def _compare_cut(letter: Kept, record: Kept, findings: Findings) -> None:
    """A letter that no topic could hold has the beginning of its record, and says what was cut."""
    value, kept = record.value or b"", letter.value or b""
    said = (letter.header(CUT), letter.header("__dlq.cut.sha256"))
    right = said == (str(len(value)), hashlib.sha256(value).hexdigest())
    key_begins = (record.key or b"").startswith(letter.key or b"")
    if not (right and kept and value.startswith(kept) and key_begins):
        findings.add("LETTER_DIFFERS", letter.position, f"it is not a cut {record.position}")
