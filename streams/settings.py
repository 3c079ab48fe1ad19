"""Settings of everything that talks to Kafka."""

import re
from dataclasses import dataclass, field
from pathlib import Path

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")

_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_INSTANCE_ID = re.compile(r"[A-Za-z0-9._-]{1,249}")  # what Kafka accepts

_BROKER = re.compile(r"(?:[^\s:/@\[\]]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")

_OF_SASL = ("username", "password", "password_file", "token_provider")
_OF_TLS = ("ca_file", "certificate_file", "key_file")


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """``ORCH_KAFKA_<FIELD>``."""

    bootstrap: str = ""
    """``host:port`` of brokers, separated by commas."""

    security_protocol: str = "PLAINTEXT"
    """``PLAINTEXT``, ``SSL`` (TLS), ``SASL_PLAINTEXT`` (a login in the clear) or ``SASL_SSL`` (a
    login inside TLS), as the brokers' listener has it."""

    sasl_mechanism: str = "SCRAM-SHA-512"
    """How a ``SASL_…`` protocol logs in: ``PLAIN``, ``SCRAM-SHA-256``, ``SCRAM-SHA-512`` or
    ``OAUTHBEARER``."""

    username: str = ""
    """The user of ``PLAIN`` and ``SCRAM-…``."""

    password: str = field(default="", repr=False)
    """The user's password. Use ``password_file`` instead where others can read the environment."""

    password_file: Path | None = None
    """A file with the password alone. New clients use what it holds; those that are open keep
    theirs, so start the processes again after a change."""

    token_provider: str = ""
    """For ``OAUTHBEARER``: ``package.module:function``, which returns the token or an awaitable of
    it. It is called for every new connection, in a thread unless it is a coroutine, and has
    ``request_timeout_s``."""

    ca_file: Path | None = None
    """PEM: the authorities that may have signed the brokers' certificates. If unset: those that the
    machine trusts."""

    certificate_file: Path | None = None
    """PEM: our certificate, for brokers that want one (mutual TLS). If it or its key changes, new
    connections use the new one."""

    key_file: Path | None = None
    """PEM: the key of ``certificate_file``, without a password. If unset: it is in that file."""

    client_rack: str = ""
    """The rack (availability zone) of this process: logs and dead letters are read from a replica
    there, if the brokers have a rack-aware selector. Members of consumer groups read from the
    leader: a replica that is behind would make them begin again."""

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
        self._check_bootstrap()
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
        self._check_security()

    def _check_bootstrap(self) -> None:
        if self.bootstrap.strip() and not self.servers:
            raise ValueError(f"bootstrap is {self.bootstrap!r}; it names no broker")
        for server in self.servers:
            match = _BROKER.fullmatch(server)
            if match is None or not 1 <= int(match["port"] or 9092) <= 65535:
                raise ValueError(
                    f"bootstrap has {server!r}; it must be host:port of each broker, with commas"
                )

    def _check_security(self) -> None:
        if self.security_protocol not in PROTOCOLS:
            raise ValueError(
                f"security_protocol is {self.security_protocol!r}; one of {', '.join(PROTOCOLS)}"
            )
        if self.sasl_mechanism not in MECHANISMS:
            raise ValueError(
                f"sasl_mechanism is {self.sasl_mechanism!r}; one of {', '.join(MECHANISMS)}"
            )
        for needed, names, given in (
            ("SASL_PLAINTEXT or SASL_SSL", _OF_SASL, self.uses_sasl),
            ("SSL or SASL_SSL", _OF_TLS, self.uses_tls),
        ):
            unused = [name for name in names if getattr(self, name)]
            if unused and not given:
                raise ValueError(f"{unused[0]} is set; it needs security_protocol {needed}")
        if self.key_file and not self.certificate_file:
            raise ValueError("key_file is set without certificate_file")
        if self.uses_sasl:
            self._check_login()

    def _check_login(self) -> None:
        if self.sasl_mechanism == "OAUTHBEARER":
            if not _FUNCTION.fullmatch(self.token_provider):
                raise ValueError("OAUTHBEARER needs token_provider: package.module:function")
            return
        if not self.username:
            raise ValueError(f"{self.sasl_mechanism} needs username")
        if bool(self.password) == (self.password_file is not None):
            raise ValueError(
                f"{self.sasl_mechanism} needs either password or password_file, and not both"
            )

    @property
    def uses_sasl(self) -> bool:
        """Whether connections log in."""
        return self.security_protocol.startswith("SASL_")

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.security_protocol.endswith("SSL")

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
