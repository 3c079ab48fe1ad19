"""Requests whose bytes are not a message: refused with a code, where gRPC answers UNKNOWN."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import grpc
from google.protobuf.message import DecodeError


class UnreadableRequest:
    """Stands for a request that is not a message. A deserializer cannot refuse one by itself."""


def readable(server: grpc.aio.Server) -> grpc.aio.Server:
    """The server, for ``add_…_to_server``.

    Its methods get an :class:`UnreadableRequest` for bytes that are not their message. Each
    method has to check its request, as ``answering`` and ``streaming`` do.
    """
    return cast("grpc.aio.Server", _Readable(server))


class _Readable:
    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        self._server.add_generic_rpc_handlers([_ReadableMethods(each) for each in handlers])

    def add_registered_method_handlers(self, service_name: str, handlers: object) -> None:
        """Nothing: they are the methods of the generic handler, and would be called instead."""


class _ReadableMethods(grpc.GenericRpcHandler):
    def __init__(self, methods: grpc.GenericRpcHandler) -> None:
        self._methods = methods

    def service(self, handler_call_details: Any) -> Any:
        method: Any = self._methods.service(handler_call_details)
        if method is None:
            return None
        streams = method.response_streaming
        make: Any = grpc.unary_unary_rpc_method_handler
        if streams:
            make = grpc.unary_stream_rpc_method_handler
        return make(
            method.unary_stream if streams else method.unary_unary,
            request_deserializer=_tolerant(method.request_deserializer),
            response_serializer=method.response_serializer,
        )


def _tolerant(deserialize: Callable[[bytes], object]) -> Callable[[bytes], object]:
    def read(data: bytes) -> object:
        try:
            return deserialize(data)
        except DecodeError:
            return UnreadableRequest()

    return read
