"""Every error that this system raises on purpose descends from :class:`OrchestratorError`.

The tree answers one question for the caller -- *may this be tried again unchanged?* --
so that no caller has to parse a message to decide. ``docs/errors.md`` lists the codes.
"""


class OrchestratorError(Exception):
    """Root of all deliberate errors; anything else that escapes is a bug."""

    code: str = "INTERNAL"
    """Stable machine name: in dead-letter headers, logs, metrics and replies. Never renamed.
    A class names the code of its errors. An error that carries a foreign code sets it."""

    retriable: bool = False
    """True if the same input may succeed later (Kafka's word for it, and its spelling)."""


class SettingsError(OrchestratorError):
    """A setting is unknown or wrong. The process must not start; the message names the variable."""

    code = "SETTINGS_INVALID"


class DecodeError(OrchestratorError):
    """Bytes that are not a record of the schema that they name. The record itself is faulty."""

    code = "DECODE_FAILED"


class MagicUnknownError(DecodeError):
    """The value does not begin with Confluent's magic byte 0 and a schema id."""

    code = "MAGIC_UNKNOWN"


class SchemaUnknownError(DecodeError):
    """The schema id is not one of ours, or belongs to another record type than this topic's."""

    code = "SCHEMA_UNKNOWN"


class RecordTooLargeError(DecodeError):
    """The value is larger than the limit for records of this topic."""

    code = "RECORD_TOO_LARGE"


class BatchCorruptError(DecodeError):
    """A fetched batch with a wrong checksum, compression or length: its records are unreadable."""

    code = "BATCH_CORRUPT"


class BatchTooLargeError(DecodeError):
    """A fetched batch whose records would take too much memory after decompression."""

    code = "BATCH_TOO_LARGE"


class CodecUnknownError(DecodeError):
    """A fetched batch with a codec or a format that this version does not read."""

    code = "CODEC_UNKNOWN"


class RecordCorruptError(DecodeError):
    """One record of a fetched batch that does not parse, such as a header without UTF-8."""

    code = "RECORD_CORRUPT"


class EncodeError(OrchestratorError):
    """A record that its schema cannot hold. A bug in our own code: nothing was published."""

    code = "ENCODE_FAILED"


class InvalidRecordError(OrchestratorError):
    """A record that decodes but breaks a rule of admission; it belongs in the dead-letter topic.

    One class with the code on the instance: callers distinguish the cases by ``code``,
    never by type, and the list of codes is data (``docs/errors.md``).
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
