"""The certificate that the service shows, read again when its files change."""

from __future__ import annotations

import ssl
from functools import partial
from typing import Any, NamedTuple

import grpc

from orchestrator.api.tls.settings import ApiTlsSettings
from streams.regular_file import read_settings_file
from streams.tls import load_certificate, trust
from streams.watched_files import WatchedFiles


class _Files(NamedTuple):
    context: ssl.SSLContext
    certificate: bytes
    key: bytes
    client_ca: bytes | None


class ServerCertificate:
    """Gives both servers the newest certificate for each new connection.

    Open connections keep the certificate with which they began. While the files do not fit
    together, the last good ones are used: see :class:`~streams.watched_files.WatchedFiles`.
    """

    def __init__(self, settings: ApiTlsSettings) -> None:
        """Read the files.

        Raises:
            SettingsError: a file is missing or wrong, or the key belongs to another certificate.
        """
        named = (settings.certificate_file, settings.key_file, settings.client_ca_file)
        self._settings = settings
        self._files = WatchedFiles([path for path in named if path], partial(_read, settings))

    def http_context(self) -> ssl.SSLContext:
        """The context of an HTTP server: each handshake is done with the newest one."""
        context = _context(self._settings)
        context.sni_callback = self._take_newest
        return context

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """The credentials of a gRPC server, which asks again for each handshake."""
        used = [self._files.value()]

        def newest() -> Any:
            found = self._files.value()
            if found is used[0]:
                return None
            used[0] = found
            return _grpc_configuration(found)

        return grpc.dynamic_ssl_server_credentials(
            _grpc_configuration(used[0]),
            newest,
            require_client_authentication=self._settings.client_ca_file is not None,
        )

    def _take_newest(self, connection: Any, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._files.value().context


def _read(settings: ApiTlsSettings) -> _Files:
    context = _context(settings)
    assert settings.certificate_file is not None
    assert settings.key_file is not None
    ca_file = settings.client_ca_file
    return _Files(
        context,
        read_settings_file(settings.certificate_file),
        read_settings_file(settings.key_file),
        read_settings_file(ca_file) if ca_file else None,
    )


def _context(settings: ApiTlsSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    assert settings.certificate_file is not None
    load_certificate(context, settings.certificate_file, settings.key_file)
    if settings.client_ca_file is not None:
        trust(context, settings.client_ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _grpc_configuration(files: _Files) -> Any:
    return grpc.ssl_server_certificate_configuration(
        [(files.key, files.certificate)], root_certificates=files.client_ca
    )
