"""Commands as calls of the service. Pure."""

from __future__ import annotations

from typing import Any

from google.protobuf.duration_pb2 import Duration

from orchestrator.cli.task.ports import CommandRequest
from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from schemas.records import CommandKind


def call_of(request: CommandRequest, wait_s: float) -> tuple[str, Any]:
    """The service's method for a command, and its message."""
    within = Duration()
    within.FromMilliseconds(round(wait_s * 1000))
    common: dict[str, Any] = {
        "task_id": request.task_id,
        "reason": request.reason or "",
        "answer_within": within,
    }
    match request.kind:
        case CommandKind.EXECUTE:
            return "ExecuteTask", pb.ExecuteTaskRequest(**common)
        case CommandKind.CANCEL:
            return "CancelTask", pb.CancelTaskRequest(**common)
        case CommandKind.SET_PRIORITY:
            message = pb.SetTaskPriorityRequest(priority=request.priority or 0, **common)
            return "SetTaskPriority", message
        case CommandKind.RETRY:
            retry = pb.RetryTaskRequest(from_step=request.from_step, run=request.run, **common)
            return "RetryTask", retry
    raise ValueError(f"the service knows no request {request.kind}")
