"""Where the services are."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicesSettings:
    """``ORCH_SERVICES_<FIELD>``.

    An address is ``grpc://host:port``. A host name is looked up again whenever the
    connection is lost, so a service may move behind its name. An address is checked when a
    process starts that has a pipeline with this service, and only then.
    """

    retrieval: str = "grpc://127.0.0.1:9001"
    """Finds passages: the service ``retrieval`` (or ``retrieval-service``) of a pipeline."""

    rag_engine: str = "grpc://127.0.0.1:9002"
    """Answers from passages: the service ``rag_engine`` (or ``rag-engine``) of a pipeline."""

    max_message_bytes: int = 2 * 1024 * 1024
    """Bytes of one request or answer, inclusive. A larger one fails the step. Keep it above
    ``ORCH_LIMITS_STEP_OUTPUT_MAX_BYTES`` with room for an agent's substeps; calls in flight
    times this value bounds the memory that a misbehaving service can take."""

    def __post_init__(self) -> None:
        if self.max_message_bytes < 1024:
            raise ValueError(
                f"max_message_bytes is {self.max_message_bytes}; it must be at least 1024"
            )
