"""The DSN's part of what can go wrong: its form, and the files that it names."""

import ssl
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

from sinks.errors import PostgresRefusedError, PostgresTlsError, SinkError, ours

_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")


def check_files(dsn: str) -> None:
    """Look whether the files that a DSN names can be read. Blocks for a moment.

    Raises:
        PostgresTlsError: a file cannot be read; the message names the parameter. Without this, the
            driver's error would look like one of the network.
    """
    named: dict[str, list[str]] = {}
    with suppress(ValueError):  # the driver refuses such a DSN
        named = parse_qs(urlsplit(dsn).query)
    for name in _FILES:
        for path in named.get(name, ()):
            try:
                with open(path, "rb"):  # noqa: PTH123  # a path of libpq, as it takes it
                    pass
            except OSError as error:
                raise PostgresTlsError(f"{name} of the DSN: {error.strerror}") from error


def wrong_dsn(error: ValueError) -> SinkError:
    """The error of a DSN that the driver does not take; the driver's message may quote it."""
    if isinstance(error, ssl.SSLError):  # a certificate that is not trusted is one, too
        return ours(error) or PostgresTlsError("TLS failed")
    if str(error).startswith("root certificate file"):
        return PostgresTlsError("sslmode of the DSN needs an authority: give sslrootcert")
    return PostgresRefusedError("the DSN is not a libpq URI of a database")
