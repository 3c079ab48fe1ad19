"""Commands as calls of the service. Pure."""

from __future__ import annotations

from typing import Any

from google.protobuf.duration_pb2 import Duration

from orchestrator.cli.task.ports import CommandWish
from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from schemas.records import CommandKind


def request_of(order: CommandWish, wait_s: float) -> tuple[str, Any]:
    """The service's method for a command, and its request."""
    within = Duration()
    within.FromMilliseconds(round(wait_s * 1000))
    common: dict[str, Any] = {
        "task_id": order.task_id,
        "reason": order.reason or "",
        "answer_within": within,
    }
    match order.kind:
        case CommandKind.EXECUTE:
            return "ExecuteTask", pb.ExecuteTaskRequest(**common)
        case CommandKind.CANCEL:
            return "CancelTask", pb.CancelTaskRequest(**common)
        case CommandKind.SET_PRIORITY:
            request = pb.SetTaskPriorityRequest(priority=order.priority or 0, **common)
            return "SetTaskPriority", request
        case CommandKind.RETRY:
            retry = pb.RetryTaskRequest(from_step=order.from_step, run=order.run, **common)
            return "RetryTask", retry
    raise ValueError(f"the service knows no order {order.kind}")
