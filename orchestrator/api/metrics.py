"""Requests that this replica answered, for Prometheus. Labels have few values: never an id."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from prometheus_client import Counter

GRPC_REQUESTS = Counter(
    "orchestrator_grpc_requests_total",
    "Calls over gRPC that ended, by method and status.",
    ["method", "status"],
)
HTTP_REQUESTS = Counter(
    "orchestrator_http_requests_total",
    "Requests over HTTP whose answer began, by route, method and status.",
    ["route", "method", "status"],
)

SUCCESS = "success"
_CANCELLED = grpc.StatusCode.CANCELLED.name.lower()
_UNKNOWN = grpc.StatusCode.UNKNOWN.name.lower()


@contextmanager
def counted(method: str, context: grpc.aio.ServicerContext[Any, Any]) -> Iterator[None]:
    """Count one call when the block ends: ``success``, or the name of its status in lower case.

    A caller that leaves, and one whose deadline passes, is ``cancelled``: the server learns only
    that nobody waits any more.
    """
    status = SUCCESS
    try:
        yield
    except (asyncio.CancelledError, GeneratorExit):
        status = _CANCELLED
        raise
    except BaseException:
        status = _status(context)
        raise
    finally:
        GRPC_REQUESTS.labels(method, status).inc()


def _status(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """The status that the call was ended with."""
    code = context.code()
    return code.name.lower() if isinstance(code, grpc.StatusCode) else _UNKNOWN
