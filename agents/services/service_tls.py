"""The TLS of connections to one service, as its files are now."""

import ssl
from functools import partial
from pathlib import Path
from typing import NamedTuple

import grpc
import httpx

from schemas.errors import SettingsError
from streams.regular_file import read_settings_file
from streams.tls import ClientTls, load_certificate, trust
from streams.watched_files import WatchedFiles


class ServiceTls:
    """Whom to trust at a service, and which certificate to show it.

    The files are read again when they change, see :class:`~streams.watched_files.WatchedFiles`.

    Args:
        files: without a CA, the public authorities are trusted.

    Raises:
        SettingsError: a file is missing, or is not what it should be; the message names the
            variable and the file.
    """

    def __init__(self, files: ClientTls) -> None:
        paths = [p for p in (files.ca_file, files.certificate_file, files.key_file) if p]
        self._files = WatchedFiles(paths, partial(_read, files))
        self._used = self._files.value()
        self.version = 0
        """How often the files changed. A connection that was opened under another is outdated."""

    def refresh(self) -> None:
        """Look at the files; called before a connection is opened or used. Takes microseconds."""
        found = self._files.value()
        if found is not self._used:
            self._used = found
            self.version += 1

    @property
    def context(self) -> ssl.SSLContext:
        """For HTTP: the context of the last good files."""
        return self._used.context

    def credentials(self) -> grpc.ChannelCredentials:
        """For gRPC: the credentials of the last good files."""
        used = self._used
        return grpc.ssl_channel_credentials(used.ca, used.key, used.certificate)


class _Read(NamedTuple):
    context: ssl.SSLContext
    ca: bytes | None
    certificate: bytes | None
    key: bytes | None


def _read(files: ClientTls) -> _Read:
    context = _context(files)
    certificate = _bytes(files.certificate_file)
    key = _bytes(files.key_file) or certificate
    return _Read(context, _bytes(files.ca_file), certificate, key)


def _bytes(path: Path | None) -> bytes | None:
    return None if path is None else read_settings_file(path)


def _context(files: ClientTls) -> ssl.SSLContext:
    if files.ca_file is None:
        # Mozilla's list, which gRPC trusts by default as well.
        context = httpx.create_ssl_context(trust_env=False)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            trust(context, files.ca_file)
        except SettingsError as error:
            raise SettingsError(f"ORCH_SERVICES_CA_FILES: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if files.certificate_file is not None:
        try:
            load_certificate(context, files.certificate_file, files.key_file)
        except SettingsError as error:
            variables = "ORCH_SERVICES_CERTIFICATE_FILES"
            if files.key_file is not None:
                variables += " and ORCH_SERVICES_KEY_FILES"
            raise SettingsError(f"{variables}: {error}") from error
    return context
