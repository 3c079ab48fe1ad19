"""The TLS of connections to one service, as its files are now."""

import ssl
from pathlib import Path

import grpc
import httpx
import structlog

from schemas.errors import SettingsError
from streams.tls import ClientTls, load_certificate, trust
from streams.watched_file import WatchedFile

log = structlog.get_logger()


class ServiceTls:
    """Whom to trust at a service, and which certificate to show it.

    The files are read again when they change. While they do not fit together, as between the
    replacement of a certificate and of its key, the last good ones count, and the log says
    ``service_tls_not_read``.

    Args:
        files: without a CA, the public authorities are trusted.

    Raises:
        SettingsError: a file is missing, or is not what it should be; the message names the
            variable and the file.
    """

    def __init__(self, files: ClientTls) -> None:
        self._files = files
        self._context = _context(files)
        self._ca = _watched(files.ca_file)
        self._certificate = _watched(files.certificate_file)
        self._key = _watched(files.key_file) or self._certificate
        self._seen = self._good = self._contents()
        self.version = 0
        """How often the files changed. A connection that was opened under another is outdated."""

    def refresh(self) -> None:
        """Look at the files; called before a connection is opened or used. Takes microseconds."""
        found = self._contents()
        if found == self._seen:
            return
        self._seen = found
        try:
            self._context = _context(self._files)
        except SettingsError as error:
            log.error("service_tls_not_read", code=error.code, reason=str(error))
            return
        self._good = found
        self.version += 1

    @property
    def context(self) -> ssl.SSLContext:
        """For HTTP: the context of the last good files."""
        return self._context

    def credentials(self) -> grpc.ChannelCredentials:
        """For gRPC: the credentials of the last good files."""
        ca, certificate, key = self._good
        return grpc.ssl_channel_credentials(ca, key, certificate)

    def _contents(self) -> tuple[bytes | None, ...]:
        watched = (self._ca, self._certificate, self._key)
        return tuple(file.value() if file else None for file in watched)


def _watched(path: Path | None) -> WatchedFile[bytes] | None:
    return None if path is None else WatchedFile(path, bytes)


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
