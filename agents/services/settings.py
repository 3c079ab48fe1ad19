"""The addresses of the services."""

import re
from dataclasses import dataclass

SERVICE_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicesSettings:
    """``ORCH_SERVICES_<FIELD>``.

    An address is ``grpc://host:port``, ``http://host:port/path``, ``https://…``, or
    ``python://package.module:function`` for a function in the worker itself. A host name
    is looked up again whenever a connection is opened, so a service may move behind its name.
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

    max_message_bytes: int = 2 * 1024 * 1024
    """Size of one request or answer, inclusive. A larger one fails the step. Keep it above
    ``ORCH_LIMITS_STEP_OUTPUT_MAX_BYTES`` with room for an agent's substeps; calls in flight
    times this value limits the memory that a misbehaving service can take."""

    def __post_init__(self) -> None:
        if self.max_message_bytes < 1024:
            raise ValueError(
                f"max_message_bytes is {self.max_message_bytes}; it must be at least 1024"
            )
        self.extra_addresses()

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
            field = field_of(name)
            if field in addresses or field in self.__slots__:
                raise ValueError(f"extra names {name}, which has an address already")
            addresses[field] = address
        return addresses


def field_of(service: str) -> str:
    """The setting of a service: its name without ``-service``, with ``_`` for ``-``."""
    return service.removesuffix("-service").replace("-", "_")
