"""The certificate that the service shows, read again when its files change."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import structlog

from orchestrator.api.tls.settings import ApiTlsSettings
from schemas.errors import SettingsError
from streams.tls import load_certificate, trust
from streams.watched_file import WatchedFile

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Files:
    """What the files hold; the same bytes are the same identity."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None


class ServerIdentity:
    """Gives both servers the newest certificate for each new connection.

    Open connections keep the certificate with which they began. While the files do not fit
    together, such as between the changes of two of them, the last good ones are used, and the log
    says ``certificate_not_used``.
    """

    def __init__(self, settings: ApiTlsSettings) -> None:
        """Read the files.

        Raises:
            SettingsError: a file is missing or wrong, or the key belongs to another certificate.
        """
        assert settings.certificate_file is not None
        assert settings.key_file is not None
        self._settings = settings
        self._watched = {
            path: WatchedFile(path, bytes)
            for path in (settings.certificate_file, settings.key_file, settings.client_ca_file)
            if path is not None
        }
        self._refused: _Files | None = None
        self._files = self._read()
        self._context = self._made(self._files)

    def http_context(self) -> ssl.SSLContext:
        """The context of an HTTP server: each handshake is done with the newest one."""
        context = self._made(self._files)
        context.sni_callback = self._choose
        return context

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """The credentials of a gRPC server, which asks again for each handshake."""
        used: list[_Files] = [self._files]

        def newest() -> Any:
            self._refresh()
            if self._files == used[0]:
                return None
            used[0] = self._files
            return _grpc_configuration(self._files)

        return grpc.dynamic_ssl_server_credentials(
            _grpc_configuration(self._files),
            newest,
            require_client_authentication=self._settings.client_ca_file is not None,
        )

    def _choose(self, connection: Any, _name: str | None, _context: ssl.SSLContext) -> None:
        self._refresh()
        connection.context = self._context

    def _read(self) -> _Files:
        def contents(path: Path | None) -> bytes | None:
            return None if path is None else self._watched[path].value()

        settings = self._settings
        return _Files(
            contents(settings.certificate_file) or b"",
            contents(settings.key_file) or b"",
            contents(settings.client_ca_file),
        )

    def _refresh(self) -> None:
        files = self._read()
        if files in (self._files, self._refused):
            return
        try:
            self._context = self._made(files)
        except SettingsError as error:
            self._refused = files
            log.error("certificate_not_used", reason=str(error))
        else:
            self._files, self._refused = files, None
            log.info("certificate_changed", path=str(self._settings.certificate_file))

    def _made(self, _files: _Files) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        assert self._settings.certificate_file is not None
        load_certificate(context, self._settings.certificate_file, self._settings.key_file)
        if self._settings.client_ca_file is not None:
            trust(context, self._settings.client_ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def _grpc_configuration(files: _Files) -> Any:
    return grpc.ssl_server_certificate_configuration(
        [(files.key, files.certificate)], root_certificates=files.client_ca
    )
