"""Settings of the limits for connections and for callers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiLimitsSettings:
    """``ORCH_API_LIMITS_<FIELD>``. Each limit of one replica."""

    connections_max: int = 1000
    """Open HTTP connections. One more is answered with 503 and closed. Keep it below the limit of
    open files."""

    header_max_bytes: int = 32 * 1024
    """Request line and headers of an HTTP request, and metadata of a gRPC call. More is answered
    with 431, or RESOURCE_EXHAUSTED by gRPC."""

    header_timeout_s: float = 10.0
    """The headers of an HTTP request have to arrive within this time, and a gRPC connection has to
    be set up. A slower one is answered with 408 and closed."""

    keep_alive_s: float = 5.0
    """An HTTP connection without a request is closed after this time."""

    websocket_frame_max_bytes: int = 64 * 1024
    """A larger message of a WebSocket closes it with 1009."""

    grpc_streams_max: int = 200
    """Calls at the same time on one gRPC connection. Further ones wait in the client."""

    grpc_calls_max: int = 4000
    """Calls of gRPC at the same time on all connections; one more is refused with
    RESOURCE_EXHAUSTED."""

    grpc_idle_s: float = 300.0
    """A gRPC connection without a call is closed after this time; clients connect again."""

    grpc_age_s: float = 3600.0
    """A gRPC connection takes no new calls after this time, so that clients spread over new
    replicas. Calls that run go on to their ends."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        if self.header_max_bytes < 4096:
            raise ValueError(f"header_max_bytes is {self.header_max_bytes}; at least 4096")
