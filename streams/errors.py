"""What can go wrong with Kafka, and what to do then."""

from schemas.errors import OrchestratorError


class PublishError(OrchestratorError):
    """A batch was not acknowledged: whether it was written is unknown.

    The process that sent it must stop (fail-stop): its successor reads the log and finds out.
    """

    code = "PUBLISH_FAILED"
    retriable = True


class PublishRefusedError(OrchestratorError):
    """The broker refused a record and wrote no part of it.

    Records that follow it in the same call, for the same partition, were not sent. A record that
    is too large has to be made smaller. For any other reason, such as a missing right or a policy,
    an operator has to act; the same record may be published again after that.
    """

    code = "PUBLISH_REFUSED"

    def __init__(self, topic: str, partition: int, reason: str, *, too_large: bool) -> None:
        super().__init__(f"{topic}[{partition}]: {reason}")
        self.reason = reason
        """The name of Kafka's error."""
        self.too_large = too_large


class KafkaUnavailableError(OrchestratorError):
    """No broker answered in time, or a log could not be read to its end. Nothing was written."""

    code = "KAFKA_UNAVAILABLE"
    retriable = True


class KafkaRefusedError(KafkaUnavailableError):
    """A broker answers and refuses this process: its login, its certificate, or its rights.

    The message names the cause and the setting or the right. A process that starts ends with it. A
    process that runs waits as for an absent broker: an operator may just be changing a password.
    """

    code = "KAFKA_REFUSED"
    retriable = False


class KafkaLoginRefusedError(KafkaRefusedError):
    """The broker refuses the user, the password, the token or the SASL mechanism."""

    code = "KAFKA_LOGIN_REFUSED"


class KafkaTlsError(KafkaRefusedError):
    """No TLS with the broker: its certificate is not trusted, or ours is, or it speaks no TLS."""

    code = "KAFKA_TLS_FAILED"


class KafkaRightMissingError(KafkaRefusedError):
    """The account has no right (ACL) that this process needs; the message names all of them."""

    code = "KAFKA_RIGHT_MISSING"


class TopicsDifferError(OrchestratorError):
    """A topic is missing, or differs from the declared table in a way that endangers data.

    Nothing was read or written. The message says what differs, what breaks, and the fix.
    """

    code = "TOPICS_DIFFER"


class TopicNotCreatedError(OrchestratorError):
    """The cluster refuses to create a topic; the message names the setting or the right.

    Topics that were created before stay. Change what the message names, and apply again.
    """

    code = "TOPIC_NOT_CREATED"


class FaustVersionError(OrchestratorError):
    """Another Faust is installed than this code relies on; install the pinned version."""

    code = "FAUST_VERSION"


class OwnershipLostError(OrchestratorError):
    """Another owner wrote to the log of a partition that we held: stop, decide nothing more."""

    code = "OWNERSHIP_LOST"
    retriable = True


class TopicReplacedError(OrchestratorError):
    """A topic is not the one that remembered offsets belong to: it was made again, or mirrored.

    Nothing was decided. An operator declares what the topic is (``orchestrator topics adopt``).
    """

    code = "TOPIC_REPLACED"


class AdoptionRefusedError(OrchestratorError):
    """A topic cannot be adopted as what the operator says it is; nothing was written."""

    code = "ADOPTION_REFUSED"


class ClockDiffersError(OrchestratorError):
    """This machine's clock is too far from the broker's to decide about deadlines.

    Nothing was decided. The difference is measured again; set the clock right.
    """

    code = "CLOCK_DIFFERS"


class LogTrimmedError(OrchestratorError):
    """Records were removed before they were read, from a log that must not have gaps.

    Nothing was decided. An operator gives the records up (``orchestrator topics adopt``).
    """

    code = "LOG_TRIMMED"


class SnapshotUnreadableError(OrchestratorError):
    """A snapshot that an owner wrote cannot be read, and the log is no longer complete.

    Nothing was decided. The version that wrote it, or a newer one, can read it.
    """

    code = "SNAPSHOT_UNREADABLE"


class LogLostError(OrchestratorError):
    """The log ends before an offset that was read: the cluster lost acknowledged records.

    No process may go on without an operator: the offsets of this log now name other records.
    """

    code = "LOG_LOST"


class ReadingStalledError(OrchestratorError):
    """Records wait and are not read, for a reason outside of our code: start the process again."""

    code = "READING_STALLED"
    retriable = True


class SchemaRegistryError(OrchestratorError):
    """The schema registry did not answer, or refuses our schemas. Nothing was read or written."""

    code = "SCHEMA_REGISTRY_FAILED"
    retriable = True
