"""Settings of TLS, of the service and of those who call it."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from streams.tls import ClientTls


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiTlsSettings:
    """``ORCH_API_TLS_<FIELD>``: TLS of gRPC and HTTP."""

    certificate_file: Path | None = None
    """PEM: the certificate of the service, and those between it and its authority. Set: both ports
    speak TLS only. A new file is used for new connections; no restart is needed."""

    key_file: Path | None = None
    """PEM: the key of ``certificate_file``, without a password."""

    client_ca_file: Path | None = None
    """PEM: the authorities whose clients may connect. Set: a client without a certificate of theirs
    is refused. Keys are checked as well, if there are any. A new file is used for new
    connections."""

    plaintext: bool = False
    """Whether the service may listen without TLS on an address that others can reach, because a
    proxy in front of it speaks TLS. Otherwise such an address needs ``certificate_file``."""

    def __post_init__(self) -> None:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file are set together or not at all")
        if self.client_ca_file is not None and self.certificate_file is None:
            raise ValueError("client_ca_file needs certificate_file")

    @property
    def on(self) -> bool:
        """Whether the service speaks TLS."""
        return self.certificate_file is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiClientSettings:
    """``ORCH_API_CLIENT_<FIELD>``: how ``orchestrator task`` connects to the service."""

    tls: bool = False
    """Whether the service speaks TLS, with a certificate that this machine trusts or that of
    ``ca_file``."""

    ca_file: Path | None = None
    """PEM: the authorities that may have signed the certificate of the service. Set: TLS is on."""

    certificate_file: Path | None = None
    """PEM: our certificate, for a service with ``ORCH_API_TLS_CLIENT_CA_FILE``. Set: TLS is on."""

    key_file: Path | None = None
    """PEM: the key of ``certificate_file``, without a password."""

    plaintext: bool = False
    """Whether ``ORCH_API_KEY`` may be sent without TLS to an address that is not this machine, as
    in a network that encrypts by itself. Otherwise such a command ends before it connects."""

    def __post_init__(self) -> None:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file are set together or not at all")

    @property
    def on(self) -> bool:
        """Whether the connection is encrypted."""
        return self.tls or self.ca_file is not None or self.certificate_file is not None

    def context(self) -> ssl.SSLContext:
        """The files, as a context that checks the service.

        Raises:
            SettingsError: a file is missing or wrong; the message names it.
        """
        return ClientTls(
            ca_file=self.ca_file, certificate_file=self.certificate_file, key_file=self.key_file
        ).context()
