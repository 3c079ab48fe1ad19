"""Settings of everything that talks to Kafka."""

import re
from dataclasses import dataclass, field

_INSTANCE_ID = re.compile(r"[A-Za-z0-9._-]{1,249}")  # what Kafka accepts


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """``ORCH_KAFKA_<FIELD>``."""

    bootstrap: str = ""
    """``host:port`` of brokers, separated by commas."""

    client_id: str = "ai-orchestrator"
    """How our connections appear in the broker's logs and metrics."""

    instance_id: str = ""
    """Names this process among those of its role (Kafka's ``group.instance.id``), such as the
    name of its pod. A process that comes back under its name within the session timeout gets
    the same partitions without a rebalance; until then no process works on them. Two processes
    of one role with the same name drive each other out. Empty: the process has no name; each
    start and stop is a rebalance, and partitions never wait for a process."""

    request_timeout_s: float = 30.0
    """Bound of one request. A batch that is not acknowledged by then is sent again under the same
    number until it is; the log then says ``publish_waits``."""

    session_timeout_s: float = 10.0
    """A process that is silent for longer loses its partitions. At least 6 s, the broker's
    own lower bound. Longer: slower takeover; shorter: a pause becomes a rebalance."""

    drain_timeout_s: float = 5.0
    """At a rebalance, work in flight may run for this time; the rest is cancelled and
    delivered again to the next owner. Keep it far under the session timeout."""

    commit_interval_s: float = 1.0
    """How often acknowledged offsets are committed: bounds what a kill delivers again."""

    stall_timeout_s: float = 60.0
    """A process that reads nothing for longer, although records wait and the process itself
    does not hold the reading back, ends with exit code 1: its consumer is stuck."""

    def __post_init__(self) -> None:
        if self.session_timeout_s < 6:
            raise ValueError(f"session_timeout_s is {self.session_timeout_s}; at least 6")
        if self.instance_id and not _INSTANCE_ID.fullmatch(self.instance_id):
            raise ValueError(f"instance_id is {self.instance_id!r}; letters, digits and ._- only")
        bounds = ("request_timeout_s", "drain_timeout_s", "commit_interval_s", "stall_timeout_s")
        for name in bounds:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        if self.session_timeout_s >= self.request_timeout_s:
            raise ValueError("session_timeout_s must be below request_timeout_s")

    @property
    def servers(self) -> list[str]:
        """The brokers of ``bootstrap``."""
        return [server.strip() for server in self.bootstrap.split(",") if server.strip()]


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemasSettings:
    """``ORCH_SCHEMAS_<FIELD>``. The same in every process of one system."""

    registry_url: str = field(default="", repr=False)  # may hold a password
    """The Confluent API of a schema registry; with it our schemas are registered there, and
    values carry its ids. Empty: values carry the ids of ``schemas/avro/lock.json``. A process
    without the registry cannot read the values of a process with it: set it in every process,
    or leave it empty in every process."""

    registry_timeout_s: float = 30.0
    """Bound of asking the registry at the start of a process; the start fails after it."""

    def __post_init__(self) -> None:
        if not self.registry_timeout_s > 0:
            raise ValueError(f"registry_timeout_s is {self.registry_timeout_s}; it must be above 0")
        if self.registry_url and not self.registry_url.startswith(("http://", "https://")):
            raise ValueError("registry_url must begin with http:// or https://")
