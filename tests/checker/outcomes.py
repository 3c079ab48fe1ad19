"""An event that a result caused says about the step what the result said.

And a result holds the answer to its own command: a service of a test may name, in the field
``answers`` of its output, the command that it answered.
"""

import json
from typing import Any

from tests.checker.evidence import Evidence
from tests.checker.log import Log, Logged
from tests.checker.verdict import Findings
from tests.checker.wire import Value, decode

COUNTS = ("input_tokens", "output_tokens", "cost_micros")


def check_outcomes(evidence: Evidence, log: Log, findings: Findings) -> None:
    """Compare each counted result with its event, and each answer with its command."""
    _check_answers(evidence, findings)
    topic = evidence.topic("step-results")
    for cause, events in log.by_cause.items():
        record = evidence.at(cause) if cause[0] == topic else None
        result = decode(record.value, "StepResult") if record else None
        if result is None:
            continue
        for logged in events:
            wrong = [name for name, (a, b) in _pairs(result, logged).items() if a != b]
            if wrong:
                what = f"{result['command_id']} {result['kind']}: {wrong}"
                findings.add("RESULT_DIFFERS", logged.position, what)


def _check_answers(evidence: Evidence, findings: Findings) -> None:
    for record in evidence.all_of("step-results"):
        result = decode(record.value, "StepResult")
        if result is None or result["kind"] != "succeeded":
            continue
        answered = _answered(result["output"] or "null")
        if answered not in (None, result["command_id"]):
            what = f"{result['command_id']} has the answer to {answered}"
            findings.add("ANSWER_OF_ANOTHER", record.position, what)


def _answered(output: str) -> Any:
    """The command that an output names; None also for what is not JSON, as a service may send."""
    try:
        document = json.loads(output)
    except (ValueError, RecursionError):
        return None
    return document.get("answers") if isinstance(document, dict) else None


def _pairs(result: Value, logged: Logged) -> dict[str, tuple[Any, Any]]:
    step = logged.event["step"]
    if step is None:
        return {"step": (None, result["command_id"])}
    pairs = {
        name: (step[name], result[name])
        for name in ("command_id", "attempt", "command_partition", "command_offset")
    }
    pairs["name"] = (step["name"], result["step"])
    pairs["run"] = (logged.event["run"], result["run"])
    if step["status"] == "succeeded":
        pairs["output"] = (step["output"], result["output"] or "null")
    if result["kind"] == "started":
        return pairs
    said, told = result["usage"], step["usage"]
    pairs["usage"] = (told is None, said is None)
    if said is not None and told is not None:
        # Negative counts are no usage.
        pairs |= {name: (told[name], max(said[name], 0)) for name in COUNTS}
    return pairs
