"""How often each limit refused something, and what is open."""

from prometheus_client import Counter, Gauge

LIMITED = Counter(
    "orchestrator_api_limited_total",
    "Requests and connections that a limit of the service refused, by limit.",
    ["limit"],
)
STREAMS = Gauge(
    "orchestrator_api_streams_open", "Streams, and waits that may last longer than a moment."
)
