"""Converts refusals of the service to the errors of the direct way. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from orchestrator.api.grpc.errors import DETAILS, DOMAIN
from orchestrator.api.tasks.errors import TaskUnknownError
from orchestrator.cli.errors import AnswerError
from schemas.errors import OrchestratorError
from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb

M = TypeVar("M", bound=Message)

_OUT_OF_RANGE: Mapping[str, str] = {
    "timeout_ms": "TIMEOUT_OUT_OF_RANGE",
    "deadline_at": "TIMEOUT_OUT_OF_RANGE",
    "priority": "PRIORITY_OUT_OF_RANGE",
}
"""Fields whose range the service checks before admission does."""


class ServiceAwayError(OrchestratorError):
    """The service does not answer. A read may be repeated; look before you repeat a command."""

    code = "API_UNAVAILABLE"
    retriable = True


class ServiceRefusedError(AnswerError):
    """The service refuses the call, with its code."""

    def __init__(self, code: str, message: str, receipt: pb.Receipt | None) -> None:
        super().__init__(code, message)
        self.receipt = receipt
        """For a published command: its owner refused it, or has not answered yet."""


def refusal_of(
    error: grpc.aio.AioRpcError, request: Any, address: str, tenant: str
) -> OrchestratorError:
    """The error for a failed call that was made in the name of a tenant."""
    details = _details(error)
    info = _detail(details, ErrorInfo)
    if info is None or info.domain != DOMAIN:
        return _without_details(error, address)
    code, message = info.reason, error.details() or ""
    if code == "TASK_NOT_FOUND":
        return TaskUnknownError(
            f"there is no task {request.task_id} of {tenant}; --direct finds those of all tenants"
        )
    if code == "REPLICA_STOPPING":
        return ServiceAwayError(f"the replica at {address} stops")
    if code == "UNAVAILABLE":
        # As on the direct way, which names the server that did not answer.
        code = info.metadata.get("cause") or code
    bad = _detail(details, BadRequest)
    if code == "FIELD_INVALID" and bad is not None and bad.field_violations:
        code = _OUT_OF_RANGE.get(bad.field_violations[0].field, code)
    if code == "TENANT_MISSING":
        message += "; ORCH_API_TENANT names it"
    if code == "UNAUTHENTICATED":
        message += "; the key is taken from ORCH_API_KEY"
    return ServiceRefusedError(code, message, _detail(details, pb.Receipt))


def _without_details(error: grpc.aio.AioRpcError, address: str) -> OrchestratorError:
    match error.code():
        case grpc.StatusCode.UNIMPLEMENTED:
            return ServiceAwayError(f"what answers at {address} is not a service of this version")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return ServiceAwayError(f"{address} did not answer in time")
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return AnswerError("BODY_TOO_LARGE", "it is larger than the service takes")
    return ServiceAwayError(f"the call of {address} broke off: {error.code().name}")


def _details(error: grpc.aio.AioRpcError) -> Status:
    status = Status()
    for name, value in error.trailing_metadata() or ():
        if name == DETAILS and isinstance(value, bytes):
            try:
                status.ParseFromString(value)
            except DecodeError:
                return Status()  # from a proxy, or another program
    return status


def _detail(status: Status, kind: type[M]) -> M | None:
    for packed in status.details:
        found = kind()
        if packed.Is(found.DESCRIPTOR) and packed.Unpack(found):
            return found
    return None
