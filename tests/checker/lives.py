"""Topics that were made again: offsets of their former lives mean nothing in the present ones."""

import json
from collections.abc import Mapping

from tests.checker.evidence import Evidence
from tests.checker.wire import Position, decode

ADOPTION = b"/adoption/"


def made_again(evidence: Evidence) -> Mapping[str, int]:
    """By topic: when an operator last said that it was made again. Unix milliseconds."""
    found: dict[str, int] = {}
    for record in evidence.all_of("task-state"):
        if not (record.key or b"").startswith(ADOPTION):
            continue
        value = decode(record.value, "TaskState")
        said = json.loads(value["state"]) if value is not None else {}
        if said.get("made_again"):
            found[said["topic"]] = max(said["at"], found.get(said["topic"], 0))
    return found


def is_former(lives: Mapping[str, int], position: Position, at_ms: int) -> bool:
    """Whether what was said at a time about a position means a topic that is gone."""
    return at_ms < lives.get(position[0], 0)
