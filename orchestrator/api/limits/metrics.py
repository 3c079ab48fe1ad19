"""How often each limit refused something."""

from prometheus_client import Counter

LIMITED = Counter(
    "orchestrator_api_limited_total",
    "Requests and connections that a limit of the service refused, by limit.",
    ["limit"],
)
