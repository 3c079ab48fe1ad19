"""What can go wrong with Kafka, and what to do then."""

from schemas.errors import OrchestratorError


class PublishError(OrchestratorError):
    """A batch was not acknowledged in time: whether it was written is unknown.

    The process that sent it must stop (fail-stop): its successor reads the log and sees.
    """

    code = "PUBLISH_FAILED"
    retriable = True


class KafkaUnavailableError(OrchestratorError):
    """No broker answered in time, or a log could not be read to its end. Nothing was written."""

    code = "KAFKA_UNAVAILABLE"
    retriable = True


class TopicsDifferError(OrchestratorError):
    """A topic is missing, or differs from the table so that data are at stake.

    Nothing was read or written. The message says what differs, what breaks, and the fix.
    """

    code = "TOPICS_DIFFER"


class TopicNotCreatedError(OrchestratorError):
    """The cluster refuses to create a topic; the message names the setting or the right.

    Topics that were created before stay. Change what the message names, and apply again.
    """

    code = "TOPIC_NOT_CREATED"


class FaustVersionError(OrchestratorError):
    """Another Faust than the one whose behaviour this code relies on; install the pinned one."""

    code = "FAUST_VERSION"


class OwnershipLostError(OrchestratorError):
    """Someone else wrote to the log of a partition that we held: stop, decide nothing more."""

    code = "OWNERSHIP_LOST"
    retriable = True


class LogLostError(OrchestratorError):
    """The log ends before what was read of it: the cluster lost acknowledged records.

    Nobody may go on by himself: the offsets of this log name other records now.
    """

    code = "LOG_LOST"


class ReadingStalledError(OrchestratorError):
    """Records wait and none is read, for no reason of ours: the process has to start again."""

    code = "READING_STALLED"
    retriable = True


class SchemaRegistryError(OrchestratorError):
    """The schema registry did not answer, or refuses our schemas. Nothing was read or written."""

    code = "SCHEMA_REGISTRY_FAILED"
    retriable = True
