"""TLS contexts of clients: whom to trust, and which certificate to show."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import SettingsError
from streams.regular_file import read_settings_file
from streams.watched_files import WatchedFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTls:
    """The files of a client's connections. Each is PEM."""

    ca_file: Path | None = None
    """Certificates of the authorities that may have signed the server's. None: those that the
    machine trusts."""

    certificate_file: Path | None = None
    """The client's certificate, and the certificates between it and its authority."""

    key_file: Path | None = None
    """The key of ``certificate_file``, without a password. None: it is in the same file."""

    def context(self) -> ssl.SSLContext:
        """A context that checks the server's certificate and its host name.

        Raises:
            SettingsError: a file is missing, or is not what it should be; the message names it.
        """
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.ca_file is not None:
            context = _trusting(self.ca_file)
        if self.certificate_file is not None:
            load_certificate(context, self.certificate_file, self.key_file)
        elif self.key_file is not None:
            raise SettingsError(f"{self.key_file} is a key without a certificate")
        return context


def _trusting(ca_file: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    trust(context, ca_file)
    return context


def trust(context: ssl.SSLContext, ca_file: Path) -> None:
    """Trust the authorities of a file.

    Raises:
        SettingsError: the file cannot be read, or holds no certificate.
    """
    read_settings_file(ca_file)  # OpenSSL would wait for a pipe
    try:
        context.load_verify_locations(cafile=ca_file)
    except ssl.SSLError as error:
        raise SettingsError(f"{ca_file} holds no certificates in PEM") from error
    except OSError as error:
        raise SettingsError(f"{ca_file}: {error.strerror}") from error


def load_certificate(
    context: ssl.SSLContext, certificate_file: Path, key_file: Path | None
) -> None:
    """Show this certificate to the other side.

    Raises:
        SettingsError: a file cannot be read or is not PEM, the key has a password, or the key
            belongs to another certificate.
    """
    for file in filter(None, (certificate_file, key_file)):
        read_settings_file(file)  # OpenSSL would wait for a pipe, and names no file
    try:
        context.load_cert_chain(certificate_file, key_file, password=_refused)
    except ssl.SSLError as error:
        files = certificate_file if key_file is None else f"{certificate_file} and {key_file}"
        reason = _REASONS.get(error.reason, f"not a certificate and its key ({error.reason})")
        raise SettingsError(f"{files}: {reason}") from error


_REASONS = {
    "KEY_VALUES_MISMATCH": "the key belongs to another certificate",
    "PEM_LIB": "not a certificate and its key in PEM, or the key has a password",
}


def _refused() -> str:
    # Without an answer, OpenSSL would ask on the terminal.
    return ""


def rotating_context(tls: ClientTls) -> ssl.SSLContext:
    """A context whose new connections use what the files hold then.

    For clients that keep one context for ever. See :class:`~streams.watched_files.WatchedFiles` for
    files that go wrong later.

    Raises:
        SettingsError: as :meth:`ClientTls.context`.
    """
    paths = [path for path in (tls.ca_file, tls.certificate_file, tls.key_file) if path]
    context = _RotatingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.files = WatchedFiles(paths, tls.context)
    return context


class _RotatingContext(ssl.SSLContext):
    """Hands every new connection to the newest context. asyncio and uvloop call nothing else."""

    files: WatchedFiles[ssl.SSLContext]

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        return self.files.value().wrap_bio(*args, **kwargs)

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        return self.files.value().wrap_socket(*args, **kwargs)
