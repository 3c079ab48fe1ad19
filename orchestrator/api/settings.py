"""Settings of the service."""

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.api.access.browsers import BrowserRules, is_this_machine, listed
from orchestrator.api.access.keys import Keys
from orchestrator.api.access.oidc.config import OidcConfig, rights_of
from schemas.errors import SettingsError
from schemas.limits import ID_PATTERN

_GRPC_PORT = 9000
_ADDRESS = re.compile(
    r"(?P<host>[A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):(?P<port>[0-9]{1,5})"
)

_SERVICE = re.compile(r"[a-z0-9]([a-z0-9-]{0,55}[a-z0-9])?")
_HOST = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """``ORCH_API_<FIELD>``."""

    host: str = "127.0.0.1"
    """The address that both servers listen on. Without keys the start is refused unless it
    is a loopback address."""

    grpc_port: int = _GRPC_PORT
    """The port of gRPC. 0 takes a free port; the log line ``serving`` names it."""

    http_port: int = 8000
    """The port of HTTP. 0 takes a free port; the log line ``serving`` names it."""

    keys: str = field(default="", repr=False)
    """``tenant:hash`` pairs, separated by commas; ``orchestrator keys new`` makes them. Empty:
    every caller that reaches the ports is ``open_tenant``, unless there is ``keys_file``."""

    keys_file: Path | None = None
    """A file of keys with rights and an end, one JSON object a line, which ``orchestrator keys``
    writes; read again when it changes. A revoked key is refused at once, and its open
    streams end. Keys in ``keys`` stay valid beside it; where both have a key, the file decides."""

    open_tenant: str = "default"
    """The tenant of every caller while there are no keys."""

    oidc_issuer: str = ""
    """The issuer whose tokens (JWTs) are taken beside keys, as in their claim ``iss``:
    ``https://...``, or ``http://`` on this machine. Empty: tokens are not taken."""

    oidc_audience: str = ""
    """What the claim ``aud`` of a token must hold; required with an issuer."""

    oidc_algorithms: str = "RS256,ES256"
    """How tokens may be signed, separated by commas. Only algorithms with a public key can be
    named."""

    oidc_jwks_url: str = ""
    """The address of the issuer's keys. Empty: the issuer's discovery document names it."""

    oidc_tenant_claim: str = "tenant"
    """The claim that names the tenant; ``*`` in it stands for all tenants."""

    oidc_scope_claim: str = "scope"
    """The claim with the rights: a list, or words with spaces between them."""

    oidc_scopes: str = "read=read,write=write,operate=operate"
    """The issuer's word for each right, as ``WORD=RIGHT`` with commas between them. Other words
    are passed over; ``operate`` counts for all tenants only."""

    oidc_leeway_s: float = 30.0
    """By how much the issuer's clock may differ: a token is taken for this time after its end."""

    oidc_refetch_s: float = 10.0
    """The issuer's keys are asked for at most this often when a token has an unknown one. A new
    key is refused for up to this time."""

    allowed_hosts: str = ""
    """Names that the header ``Host`` of an HTTP request may have while there are no keys, separated
    by commas, beside ``localhost`` and loopback addresses. Another name is refused
    (``HOST_REFUSED``): a web page could have sent it here by DNS rebinding."""

    allowed_origins: str = ""
    """Origins of web pages that may open a WebSocket and, while there are no keys, change
    something, separated by commas, such as ``https://console.example.com``; ``*``: all. The
    service's own origin needs no entry; others are refused (``ORIGIN_REFUSED``)."""

    publish_timeout_s: float = 1.5
    """Limit for the broker's acknowledgement of a task or a command. Keep it and
    ``answer_timeout_s`` at 2 s or less, so that a caller gets an answer when the broker is
    down."""

    answer_timeout_s: float = 2.0
    """Limit for waiting for a command's answer, for a caller's own write to become readable, and
    for ``min_sequence``."""

    wait_default_s: float = 30.0
    """How long ``tasks:execute`` waits over HTTP if the caller gives no time."""

    wait_max_s: float = 3600.0
    """The longest wait for the end of a task in one call."""

    heartbeat_s: float = 15.0
    """A stream without events sends a heartbeat this often; proxies cut silent streams."""

    chunks_max: int = 256
    """Chunks that wait for one slow reader. Further chunks are left out, and the stream says
    so."""

    send_timeout_s: float = 60.0
    """A reader that accepts no data for longer is cut off; it can resume."""

    replay_timeout_s: float = 60.0
    """The longest a call that replays dead letters may take. If it takes longer, the next replay
    finds out what was sent; it waits 7 s for that."""

    body_max_bytes: int = 8 * 1024 * 1024
    """The largest HTTP body and gRPC message: a batch."""

    body_timeout_s: float = 30.0
    """The body of an HTTP request has to arrive within this time. A slower one is answered with
    408, and its connection is closed."""

    drain_s: float = 2.0
    """After SIGTERM a replica reports for this time that it is not ready (``/readyz``, gRPC
    health) and still serves, so that load balancers send new calls elsewhere before its ports
    close. Keep it above the time in which they notice. 0: the ports close at once."""

    register_at: str = ""
    """``consul`` or ``nacos``: while this replica is ready, it is an instance of two services
    there, ``register_name`` for HTTP and ``register_name`` with ``-grpc`` for gRPC.
    ``ORCH_SERVICES_CONSUL_URL``, ``ORCH_SERVICES_NACOS_URL`` and the settings beside them say
    where. Empty: nothing is told."""

    register_name: str = "orchestrator"
    """The name of the service in the registry."""

    register_host: str = ""
    """The address at which callers reach this replica; required with ``register_at``, unless
    ``host`` is one."""

    ended_max: int = 20_000
    """Ended tasks in memory while the sink has not written them. Above this number the oldest are
    dropped, and found again when Postgres has them. Running tasks are always kept."""

    server: str = ""
    """``HOST:PORT`` at which ``orchestrator task`` finds the service over gRPC; several replicas,
    separated by commas, are tried in this order. Empty: this machine, at ``grpc_port``."""

    key: str = field(default="", repr=False)
    """The key with which ``orchestrator task`` calls. Empty: it calls without a key, for a
    service without keys."""

    tenant: str = ""
    """The tenant that ``orchestrator task`` names in its calls; a key of all tenants needs it, and
    a key of another tenant is refused. Empty: the tenant of the key."""

    @property
    def server_addresses(self) -> list[str]:
        """The addresses at which a caller finds the service, at least one."""
        given = self.server or f"127.0.0.1:{self.grpc_port or _GRPC_PORT}"
        return [address.strip() for address in given.split(",")]

    @property
    def protected(self) -> bool:
        """True if every caller needs a key."""
        by_key = bool(Keys.parse(self.keys)) or self.keys_file is not None
        return by_key or bool(self.oidc_issuer)

    @property
    def oidc(self) -> OidcConfig | None:
        """Which tokens are taken; None: no tokens."""
        if not self.oidc_issuer:
            return None
        return OidcConfig(
            issuer=self.oidc_issuer,
            audience=self.oidc_audience,
            algorithms=frozenset(filter(None, map(str.strip, self.oidc_algorithms.split(",")))),
            jwks_url=self.oidc_jwks_url,
            tenant_claim=self.oidc_tenant_claim,
            scope_claim=self.oidc_scope_claim,
            rights=rights_of(self.oidc_scopes),
            leeway_s=self.oidc_leeway_s,
            refetch_s=self.oidc_refetch_s,
        )

    @property
    def browser_rules(self) -> BrowserRules:
        """What web pages may send."""
        hosts, origins = listed(self.allowed_hosts), listed(self.allowed_origins)
        return BrowserRules(open=not self.protected, hosts=hosts, origins=origins)

    def __post_init__(self) -> None:
        self._check_ports()
        for name in self.__slots__:
            value = getattr(self, name)
            if name == "drain_s":
                if value < 0:
                    raise ValueError(f"drain_s is {value}; it must not be negative")
            elif name.endswith(("_s", "_max", "_bytes")) and value <= 0:
                raise ValueError(f"{name} is {value}; it must be above 0")
        self._check_callers()
        self._check_registration()
        if self.server:
            check_address(self.server)
        if not re.fullmatch(r"[\x21-\x7e]*", self.key):
            raise ValueError("key holds a space, or what is not ASCII; it must be one key")
        if self.tenant and not ID_PATTERN.fullmatch(self.tenant):
            raise ValueError(f"tenant is {self.tenant!a}; it must match {ID_PATTERN.pattern}")

    def _check_ports(self) -> None:
        for name in ("grpc_port", "http_port"):
            if not 0 <= getattr(self, name) <= 65535:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 to 65535")
        if self.grpc_port == self.http_port != 0:
            raise ValueError(f"grpc_port is {self.grpc_port}, as http_port; each needs its own")

    def _check_registration(self) -> None:
        if self.register_at not in ("", "consul", "nacos"):
            raise ValueError(f"register_at is {self.register_at!r}; it must be consul or nacos")
        if not _SERVICE.fullmatch(self.register_name):
            raise ValueError(f"register_name must match {_SERVICE.pattern}")
        if not self.register_at:
            return
        host = self.register_host or self.host
        if not _reachable(host):
            raise ValueError(
                "register_host must be an address at which callers reach this replica, as 10.0.0.7"
            )

    def _check_callers(self) -> None:
        if self.oidc is None and (self.oidc_audience or self.oidc_jwks_url):
            raise ValueError("oidc_issuer is empty, and another setting of it is not")
        if not self.protected and not is_this_machine(self.host):
            raise ValueError(
                f"host is {self.host!r}, which others can reach, and there are no keys: set "
                "ORCH_API_KEYS_FILE or ORCH_API_KEYS (`orchestrator keys new TENANT` makes a key), "
                "ORCH_API_OIDC_ISSUER, or a loopback address"
            )

    def check_reach(self, *, encrypted: bool) -> None:
        """Refuse an address that others can reach in the clear.

        Raises:
            SettingsError: others can reach the address, and keys would pass unencrypted.
        """
        if not encrypted and not is_this_machine(self.host):
            raise SettingsError(
                f"ORCH_API_HOST is {self.host!r}, which others can reach without TLS: set "
                "ORCH_API_TLS_CERTIFICATE_FILE and ORCH_API_TLS_KEY_FILE, or "
                "ORCH_API_TLS_PLAINTEXT=true if a proxy in front of it speaks TLS"
            )


def _reachable(host: str) -> bool:
    """Whether a text is a name, or an address that one host can have."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return _HOST.fullmatch(host) is not None
    return not (address.is_unspecified or address.is_multicast)


def check_address(text: str) -> str:
    """The text, if it is one ``HOST:PORT`` or several, separated by commas; else ValueError.

    An IPv6 address is in brackets.
    """
    for address in text.split(","):
        found = _ADDRESS.fullmatch(address.strip())
        if found is None or not 1 <= int(found["port"]) <= 65535:
            # Not quoted: text in the wrong setting may be a key.
            raise ValueError("server is not HOST:PORT, as in 127.0.0.1:9000")
    return text
