"""The common part of all RPCs: admit the caller, turn refusals into statuses, and count."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, ClassVar, TypeVar

import grpc
from google.protobuf.message import Message as ProtoMessage

from orchestrator.api.access.access import Access
from orchestrator.api.access.caller import Caller
from orchestrator.api.access.named import named_key, named_tenant
from orchestrator.api.access.rights import Need
from orchestrator.api.errors import ApiError
from orchestrator.api.grpc.errors import internal, refuse
from orchestrator.api.grpc.needs import NEEDS
from orchestrator.api.grpc.spans import describe_ok, rpc_span
from orchestrator.api.grpc.unreadable import UnreadableRequest
from orchestrator.api.metrics import counted
from orchestrator.api.use_cases import UseCases

Context = grpc.aio.ServicerContext[Any, Any]


class Servicing:
    """Base of the services: the use cases."""

    name: ClassVar[str]
    """The full name of the service, as in its proto."""

    def __init__(self, use_cases: UseCases) -> None:
        self._use = use_cases

    @property
    def access(self) -> Access:
        """Who may call."""
        return self._use.access


S = TypeVar("S", bound=Servicing)
Q = TypeVar("Q")
A = TypeVar("A")


def answering(
    method: Callable[[S, Caller, Q, Context], Awaitable[A]],
) -> Callable[[S, Q, Context], Awaitable[A]]:
    """A unary method for callers with what :data:`NEEDS` says; refusals become statuses."""
    need = NEEDS[method.__name__]

    @functools.wraps(method)
    async def answer(self: S, request: Q, context: Context) -> A:
        with counted(method.__name__, context):
            try:
                with rpc_span(self.name, method.__name__, context.invocation_metadata()) as call:
                    caller = await _admitted(self.access, context, need, request)
                    _check_readable(request)
                    answered = await method(self, caller, request, context)
                    describe_ok(call)
                    return answered
            except ApiError as error:
                await refuse(context, error)
            except Exception as error:
                await refuse(context, internal(error))

    return answer


def streaming(
    method: Callable[[S, Caller, Q, Context], AsyncGenerator[A]],
) -> Callable[[S, Q, Context], AsyncIterator[A]]:
    """As :func:`answering`, for a stream; it ends when its caller's right ends."""
    need = NEEDS[method.__name__]

    @functools.wraps(method)
    async def stream(self: S, request: Q, context: Context) -> AsyncIterator[A]:
        with counted(method.__name__, context):
            try:
                caller = await _admitted(self.access, context, need, request)
                _check_readable(request)
                items = method(self, caller, request, context)
                async with aclosing(self.access.while_allowed(caller, items)) as allowed:
                    async for item in allowed:
                        yield item
            except ApiError as error:
                await refuse(context, error)
            except Exception as error:
                await refuse(context, internal(error))

    return stream


def _check_readable(request: object) -> None:
    if isinstance(request, UnreadableRequest):
        raise ApiError("REQUEST_INVALID", "the request is not a message of this method")


async def _admitted(access: Access, context: Context, need: Need, request: object) -> Caller:
    metadata = tuple(context.invocation_metadata() or ())

    def values_of(name: str) -> list[str]:
        return [_text(value) for key, value in metadata if key == name]

    given, tenant = named_key(values_of), named_tenant(values_of)
    size = request.ByteSize() if isinstance(request, ProtoMessage) else 0
    return await access.admit(given, need, transport="grpc", tenant=tenant, body_bytes=size)


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
