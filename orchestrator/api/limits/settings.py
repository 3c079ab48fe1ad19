"""Settings of the limits for connections and for callers."""

from dataclasses import dataclass

from schemas.limits import ID_PATTERN


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiLimitsSettings:
    """``ORCH_API_LIMITS_<FIELD>``. Each replica has these limits for itself; it counts the live
    tasks and the held inputs of a tenant whatever replica created them."""

    connections_max: int = 1000
    """Open HTTP connections. One more is answered with 503 and closed. Keep it below the limit of
    open files."""

    header_max_bytes: int = 32 * 1024
    """Request line and headers of an HTTP request, and metadata of a gRPC call. More is answered
    with 431, or RESOURCE_EXHAUSTED by gRPC."""

    header_timeout_s: float = 10.0
    """The headers of an HTTP request have to arrive within this time, and a gRPC connection has to
    be set up. A slower one is answered with 408 and closed. What a client still sends after its
    answer, and a TLS handshake, have the same time, and are closed without an answer."""

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

    requests_per_s: float = 500.0
    """Calls of one key in a second, on average; each 64 KiB of a body, and each message of a
    WebSocket, count as one more. Further ones are refused with 429 and ``Retry-After``. A service
    without keys does not count."""

    requests_burst: int = 1000
    """Calls of one key at once, after a pause."""

    tenant_live_tasks_max: int = 100_000
    """Tasks of one tenant that have not ended. Further creates are refused with 429."""

    tenant_held_bytes_max: int = 64 * 1024 * 1024
    """Bytes of input and metadata of one tenant's held tasks, which replicas and routers keep in
    memory. Further creates of held tasks are refused with 429."""

    tenant_priority_max: int = 10
    """The highest priority that a tenant may ask for; a higher one is refused with 403. 8 and
    above is the high lane, whose tasks go before those of all other tenants."""

    tenant_streams_max: int = 300
    """Open streams of one tenant: WebSockets, each of their subscriptions, and calls that wait
    for more than two seconds are counted as well. Further ones are refused with 429. Keep it at a
    fraction of ``connections_max`` and ``grpc_calls_max``, so that no tenant fills a replica."""

    tenant_reads_max: int = 2
    """Pages, audit trails, histories and usage of one tenant that are read from Postgres, or from
    the log, at the same time. Twenty times as many wait for their turn; further ones are refused
    with 429."""

    tenant_letter_calls_max: int = 2
    """Calls about single dead letters of one tenant at the same time, each of which opens
    connections to Kafka, and beside them as many replays. Four times as many of each wait for
    their turn; further ones are refused with 429."""

    letter_calls_max: int = 8
    """Such calls of all tenants at the same time, and beside them as many replays, which take long
    and keep no other call waiting. So twice as many may have connections to Kafka."""

    tenants: str = ""
    """Other limits for single tenants: ``acme.live_tasks=1000,acme.priority=7``. The names are
    ``live_tasks``, ``held_bytes``, ``priority``, ``streams``, ``reads`` and ``letter_calls``."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if name in ("tenants", "tenant_priority_max"):
                continue
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        if self.header_max_bytes < 4096:
            raise ValueError(f"header_max_bytes is {self.header_max_bytes}; at least 4096")
        parse_tenants(self.tenants)


TENANT_LIMITS = ("live_tasks", "held_bytes", "priority", "streams", "reads", "letter_calls")
"""The limits that one tenant may have of its own."""


def parse_tenants(text: str) -> dict[str, dict[str, int]]:
    """The limits of single tenants, by tenant and name.

    Raises:
        ValueError: an entry is not ``tenant.limit=number``.
    """
    found: dict[str, dict[str, int]] = {}
    for entry in filter(None, map(str.strip, text.split(","))):
        name, _, value = entry.partition("=")
        # A tenant may hold a dot itself.
        tenant, _, limit = name.rpartition(".")
        if limit not in TENANT_LIMITS or not ID_PATTERN.fullmatch(tenant):
            raise ValueError(
                f"tenants has {entry!r}; it must be tenant.limit=number, with one of "
                f"{', '.join(TENANT_LIMITS)}"
            )
        if not (value.isascii() and value.isdecimal()):
            raise ValueError(f"tenants has {entry!r}; the limit must be a whole number")
        found.setdefault(tenant, {})[limit] = int(value)
    return found
