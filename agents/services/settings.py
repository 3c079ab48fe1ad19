"""The addresses of the services."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from agents.services.access import SERVICE_NAME, ServiceAccess, field_of, read_access

_REGISTRY = re.compile(
    r"https?://([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(:(?P<port>[0-9]{1,5}))?(/[!-~]*)?"
)

_BUILT_IN = ("retrieval", "rag_engine", "agent_engine", "voice_engine", "multimodal_engine")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicesSettings:
    """``ORCH_SERVICES_<FIELD>``.

    An address is ``grpc://host:port``, ``http://host:port/path``, the same with TLS
    (``grpcs://…``, ``https://…``), ``openai+https://host/v1?model=NAME`` for a model
    (docs/models.md), or ``python://package.module:function`` for a function in the worker itself.
    Several hosts are separated by ``|``: with ``grpc://a:9001|b:9001`` each call goes to one of
    them. With ``dns+``, ``srv+``, ``consul+`` or ``nacos+`` before it the hosts are looked up again
    and again (docs/services.md). A host name is looked up again whenever a connection is opened,
    so a service may move behind its name.
    An address is checked at the start of a process, and only if a pipeline of that process uses
    the service.
    """

    retrieval: str = "grpc://127.0.0.1:9001"
    """Finds passages: the service ``retrieval`` (or ``retrieval-service``) of a pipeline."""

    rag_engine: str = "grpc://127.0.0.1:9002"
    """Answers from passages: the service ``rag_engine`` (or ``rag-engine``) of a pipeline."""

    agent_engine: str = "grpc://127.0.0.1:9003"
    """Takes steps with tools towards an answer: the service ``agent-engine`` of a pipeline."""

    voice_engine: str = "grpc://127.0.0.1:9004"
    """Turns speech into text: the service ``voice-engine`` of a pipeline."""

    multimodal_engine: str = "grpc://127.0.0.1:9005"
    """Describes images: the service ``multimodal-engine`` of a pipeline."""

    extra: str = ""
    """The services of your own pipelines, ``name=address`` each, separated by commas:
    ``poet=grpc://10.0.0.7:9001,critic=https://critic.internal/run``. A name that has a setting
    of its own, or that appears twice, stops the start."""

    ca_files: str = ""
    """PEM files of the authorities that may have signed the certificates of services,
    ``service=file`` each, separated by commas: ``poet=/etc/ca.pem``; ``*=/etc/ca.pem`` for every
    service with TLS. A service without one must have a certificate of a public authority. The
    files are read again when they change, as are those of ``certificate_files`` and ``key_files``:
    new connections use them."""

    certificate_files: str = ""
    """PEM files of our certificates, for services that want one (mutual TLS), in the same form."""

    key_files: str = ""
    """PEM files of the keys of ``certificate_files``, without a password, in the same form. A
    service without one has its key in the file of its certificate."""

    headers: str = field(default="", repr=False)  # holds tokens: keep it out of logs
    """Headers (gRPC: metadata) that each call of a service carries, ``service.header=value`` each,
    separated by commas: ``poet.authorization=file:/run/secrets/poet``. A value is a text without a
    comma, ``file:PATH`` for the one line of a file, or ``Bearer file:PATH`` for that line after a
    word. A file is read again when it changes: the next call carries what it holds. Headers of
    the connection, and those that every call carries anyway, cannot be set."""

    health: str = ""
    """Services with several instances that are asked whether they are well, ``service=grpc`` (the
    standard gRPC health service) or ``service=/path`` (a GET that is answered with 2xx) each,
    separated by commas. An instance that is not well twice in a row gets no call until it is."""

    health_every_s: float = 5.0
    """Seconds between two such questions to an instance, from each worker process."""

    prices_file: Path | None = None
    """What the models of services with ``openai+http(s)://`` cost: a YAML file as
    ``agents/services/models/prices.yaml``. None: that file, which only has local models."""

    model_first_token_s: float = 60.0
    """A model that has sent nothing of its answer for this time is given up, and the next one of
    its service is asked; seconds."""

    model_between_tokens_s: float = 20.0
    """A model that sends no more of its answer for this time is given up; seconds."""

    discovery_every_s: float = 5.0
    """Seconds between two look-ups of a name in DNS (``dns+grpc://name:port``) or Nacos. Calls
    go to an instance that has left for at most this time."""

    consul_url: str = "http://127.0.0.1:8500"
    """The Consul agent that is asked for services with ``consul+…://``."""

    consul_token_file: Path | None = None
    """A file with a token for Consul, read again when it changes. It needs to read services and
    nodes."""

    nacos_url: str = "http://127.0.0.1:8848/nacos"
    """The Nacos server, with its context path, that is asked for services with ``nacos+…://``."""

    nacos_namespace: str = ""
    """The id of the namespace in Nacos; empty: the public one."""

    nacos_api: int = 1
    """The version of Nacos' HTTP API: 1 (Nacos 1 and 2) or 3."""

    nacos_token_file: Path | None = None
    """A file with an access token for Nacos, read again when it changes."""

    registry_ca_file: Path | None = None
    """A PEM file of the authority that signed the certificates of Consul and Nacos, if their
    addresses are ``https://``; None: public authorities."""

    max_message_bytes: int = 2 * 1024 * 1024
    """Size of one request or answer, inclusive. A larger one fails the step. Keep it above
    ``ORCH_LIMITS_STEP_OUTPUT_MAX_BYTES`` with room for an agent's substeps; calls in flight
    times this value limits the memory that a misbehaving service can take."""

    def __post_init__(self) -> None:
        if self.max_message_bytes < 1024:
            raise ValueError(
                f"max_message_bytes is {self.max_message_bytes}; it must be at least 1024"
            )
        if not 0.1 <= self.discovery_every_s <= 3600:
            raise ValueError(
                f"discovery_every_s is {self.discovery_every_s}; it must be 0.1 to 3600"
            )
        for name in ("consul_url", "nacos_url"):
            found = _REGISTRY.fullmatch(getattr(self, name))
            if found is None or not 1 <= int(found["port"] or 80) <= 65535:
                # It may hold a password.
                raise ValueError(f"{name} must be http(s)://host:port, without a user")
        if not 0.1 <= self.health_every_s <= 3600:
            raise ValueError(f"health_every_s is {self.health_every_s}; it must be 0.1 to 3600")
        if self.nacos_api not in (1, 3):
            raise ValueError(f"nacos_api is {self.nacos_api}; it must be 1 or 3")
        for name in ("model_first_token_s", "model_between_tokens_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        self.access()

    def addresses(self) -> dict[str, str]:
        """The address of each service, by the name of its setting.

        Raises:
            ValueError: as :meth:`extra_addresses`.
        """
        return {name: getattr(self, name) for name in _BUILT_IN} | self.extra_addresses()

    def access(self) -> dict[str, ServiceAccess]:
        """Files and headers for each service, by the name of its setting.

        Raises:
            ValueError: an entry is wrong, names an unknown service, or contradicts its address.
        """
        names = ("ca_files", "certificate_files", "key_files", "headers", "health")
        return read_access({name: getattr(self, name) for name in names}, self.addresses())

    def extra_addresses(self) -> dict[str, str]:
        """The addresses in ``extra`` by field name (``-service`` left out, ``_`` for ``-``).

        Raises:
            ValueError: an entry is not ``name=address``, or a name is taken.
        """
        addresses: dict[str, str] = {}
        for entry in filter(None, map(str.strip, self.extra.split(","))):
            name, _, address = entry.partition("=")
            if not SERVICE_NAME.fullmatch(name) or not address:
                raise ValueError(f"extra has {entry!r}; it must be name=address")
            setting = field_of(name)
            if setting in addresses or setting in self.__slots__:
                raise ValueError(f"extra names {name}, which has an address already")
            addresses[setting] = address
        return addresses
