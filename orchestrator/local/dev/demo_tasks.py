"""The tasks of the demonstration: one of each type, as an upstream service would send it."""

import base64
import json
import uuid
from importlib import resources
from typing import Any

from orchestrator.local.demo.picture import sunset
from schemas.records import Json, TaskCreated, TaskId
from streams.clock import now_ms

DEMONSTRATION_TENANT = "demonstration"
"""The tenant of these tasks. Callers of the service without a key are another one."""
_TWO_PARTS = "What is (17 + 3) * 2.5, and what is a dead letter?"


def demo_tasks(*, models: bool = False) -> list[TaskCreated]:
    """One task of each built-in type, with new ids; with ``models`` the agent is a small model."""
    question = "What is a dead letter?" if models else _TWO_PARTS
    follow_up = "And what is a lane?" if models else "And what happens when one fails?"
    spoken = resources.files("orchestrator.local.demo") / "samples" / "question.wav"
    conversation = [
        {"role": "user", "content": "What is a consumer group?"},
        {"role": "assistant", "content": "Consumers that share a group id share the partitions."},
    ]
    return [
        _a_task("rag", {"query": "What happens to a record that cannot be processed?"}),
        _a_task("agent", {"query": question}),
        _a_task("chat", {"query": follow_up, "history": conversation}),
        _a_task("voice", {"audio": _base64(spoken.read_bytes())}),
        _a_task(
            "multimodal",
            {"query": "Which colours does the image have?", "image": _base64(sunset())},
        ),
    ]


def _a_task(kind: str, given: dict[str, Any]) -> TaskCreated:
    return TaskCreated(
        task_id=TaskId(f"task_{uuid.uuid4()}"),
        tenant_id=DEMONSTRATION_TENANT,
        type=kind,
        input=Json(json.dumps(given)),
        created_at=now_ms(),
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
