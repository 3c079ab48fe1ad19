"""Our refusals as gRPC statuses with details: ErrorInfo, Receipt, BadRequest, RetryInfo.

Source: google.rpc.Status, and AIP-193 for its content.
"""

from __future__ import annotations

from typing import Any, NoReturn

import grpc
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from orchestrator.api.errors import ApiError, Kind
from orchestrator.api.grpc.history import receipt_message
from orchestrator.api.tasks.refusals import CommandError
from schemas.errors import OrchestratorError

log = structlog.get_logger()

DOMAIN = "ai-orchestrator"
DETAILS = "grpc-status-details-bin"

STATUSES = {
    Kind.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Kind.TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Kind.MEDIA_TYPE: grpc.StatusCode.INVALID_ARGUMENT,
    Kind.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Kind.DENIED: grpc.StatusCode.PERMISSION_DENIED,
    Kind.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Kind.CONFLICT: grpc.StatusCode.FAILED_PRECONDITION,
    Kind.EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Kind.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Kind.LATE: grpc.StatusCode.DEADLINE_EXCEEDED,
    Kind.LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Kind.INTERNAL: grpc.StatusCode.INTERNAL,
}

Context = grpc.aio.ServicerContext[Any, Any]


def internal(error: Exception) -> ApiError:
    """A bug of ours: the log has the error, the caller gets only its name."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    log.error("call_failed", error=type(error).__name__, exc_info=error)
    return ApiError("INTERNAL", "a fault of the server; its log has the reason", kind=Kind.INTERNAL)


async def refuse(context: Context, error: ApiError) -> NoReturn:
    """End a call with the status of a refusal."""
    code = STATUSES[error.kind]
    message = str(error)
    status = Status(code=code.value[0], message=message, details=_details(error))
    metadata = ((DETAILS, status.SerializeToString()),)
    await context.abort(code, message, metadata)


def _details(error: ApiError) -> list[AnyMessage]:
    info = ErrorInfo(reason=error.code, domain=DOMAIN)
    if error.task_id is not None:
        info.metadata["task_id"] = error.task_id
    if isinstance(error.__cause__, OrchestratorError):
        # For UNAVAILABLE: the server that did not answer.
        info.metadata["cause"] = error.__cause__.code
    details: list[Any] = [info]
    if isinstance(error, CommandError) and error.receipt is not None:
        details.append(receipt_message(error.receipt))
    if error.field is not None:
        violation = BadRequest.FieldViolation(field=error.field, description=str(error))
        details.append(BadRequest(field_violations=[violation]))
    if error.retry_after_s is not None:
        delay = Duration()
        delay.FromMilliseconds(round(error.retry_after_s * 1000))
        details.append(RetryInfo(retry_delay=delay))
    packed = []
    for detail in details:
        message = AnyMessage()
        message.Pack(detail)
        packed.append(message)
    return packed
