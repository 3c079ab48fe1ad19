"""How every Kafka client of this process connects: addresses, TLS, login, and its bound."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import ssl
from functools import cache
from pathlib import Path
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.abc import AbstractTokenProvider
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError

from schemas.errors import SettingsError
from streams.settings import KafkaSettings
from streams.tls import ClientTls, load_certificate
from streams.watched_file import WatchedFile, secret_line


def admin_client(kafka: KafkaSettings, *, client_id: str) -> AIOKafkaAdminClient:
    """A client for requests about the cluster; it has to be started.

    Raises:
        SettingsError: a file or the token provider of the settings cannot be used.
    """
    return AIOKafkaAdminClient(**_options(kafka, client_id))


def consumer(kafka: KafkaSettings, *, client_id: str, **options: Any) -> AIOKafkaConsumer:
    """A consumer; it has to be started. Raises as :func:`admin_client`."""
    return AIOKafkaConsumer(
        **_options(kafka, client_id), client_rack=kafka.client_rack or None, **options
    )


def producer(kafka: KafkaSettings, *, client_id: str, **options: Any) -> AIOKafkaProducer:
    """An idempotent producer whose records all in-sync replicas acknowledge.

    It has to be started. Raises as :func:`admin_client`.
    """
    return AIOKafkaProducer(
        **_options(kafka, client_id), acks="all", enable_idempotence=True, **options
    )


def faust_credentials(kafka: KafkaSettings) -> Any:
    """The same login for Faust's own clients; None for ``PLAINTEXT``.

    Raises as :func:`admin_client`.
    """
    context = _tls(kafka)
    if not kafka.uses_sasl:
        return None if context is None else faust.SSLCredentials(context)
    if kafka.sasl_mechanism == "OAUTHBEARER":
        return faust.OAuthCredentials(oauth_cb=_TokenProvider(kafka), ssl_context=context)
    return faust.SASLCredentials(
        username=kafka.username,
        password=password(kafka),
        mechanism=kafka.sasl_mechanism,
        ssl_context=context,
    )


def security_options(kafka: KafkaSettings) -> dict[str, Any]:
    """TLS and login, as each aiokafka client and connection takes them.

    Raises as :func:`admin_client`.
    """
    options: dict[str, Any] = {
        "security_protocol": kafka.security_protocol,
        "ssl_context": _tls(kafka),
    }
    if not kafka.uses_sasl:
        return options
    options["sasl_mechanism"] = kafka.sasl_mechanism
    if kafka.sasl_mechanism == "OAUTHBEARER":
        return options | {"sasl_oauth_token_provider": _TokenProvider(kafka)}
    return options | {
        "sasl_plain_username": kafka.username,
        "sasl_plain_password": password(kafka),
    }


def password(kafka: KafkaSettings) -> str:
    """The password of the settings, or of their file.

    Raises:
        SettingsError: the file cannot be read, or does not hold one line.
    """
    if kafka.password_file is None:
        return kafka.password
    return WatchedFile(kafka.password_file, secret_line).value()


def _options(kafka: KafkaSettings, client_id: str) -> dict[str, Any]:
    return {
        "bootstrap_servers": kafka.servers,
        "client_id": client_id,
        "request_timeout_ms": int(kafka.request_timeout_s * 1000),
        **security_options(kafka),
    }


def _tls(kafka: KafkaSettings) -> ssl.SSLContext | None:
    if not kafka.uses_tls:
        return None
    context = _contexts(kafka.ca_file, kafka.certificate_file, kafka.key_file)
    return context.current()


@cache
def _contexts(*files: Path | None) -> _SharedContext:
    return _SharedContext(*files)


class _SharedContext:
    """The TLS context of all clients of a process with the same files.

    A certificate that changed is loaded into the context when the next client is made, so that the
    new connections of older clients use it, too. An authority that was added is trusted as well;
    one that was removed stays trusted until the process starts again.
    """

    def __init__(
        self, ca_file: Path | None, certificate_file: Path | None, key_file: Path | None
    ) -> None:
        self._context = ClientTls(
            ca_file=ca_file, certificate_file=certificate_file, key_file=key_file
        ).context()
        self._certificate = (certificate_file, key_file)
        self._watched = [WatchedFile(ca_file, self._trust)] if ca_file else []
        # The certificate is loaded with its key: a change of either reads both again.
        self._watched += [WatchedFile(file, self._show) for file in self._certificate if file]

    def current(self) -> ssl.SSLContext:
        """The context, with what the files hold now."""
        for file in self._watched:
            file.value()
        return self._context

    def _trust(self, contents: bytes) -> None:
        try:
            self._context.load_verify_locations(cadata=contents.decode("ascii"))
        except (ssl.SSLError, UnicodeDecodeError) as error:
            raise ValueError("no certificates in PEM") from error

    def _show(self, _contents: bytes) -> None:
        certificate_file, key_file = self._certificate
        assert certificate_file is not None
        try:
            load_certificate(self._context, certificate_file, key_file)
        except SettingsError as error:
            # Between the changes of two files they do not fit together.
            raise ValueError(str(error)) from error


class _TokenProvider(AbstractTokenProvider):  # type: ignore[misc]
    """Asks the installation's function for a token, once for each connection."""

    def __init__(self, kafka: KafkaSettings) -> None:
        module_name, _, name = kafka.token_provider.partition(":")
        self._name = kafka.token_provider
        self._timeout_s = kafka.request_timeout_s
        try:
            self._function = getattr(importlib.import_module(module_name), name)
        except (ImportError, AttributeError) as error:
            raise SettingsError(f"ORCH_KAFKA_TOKEN_PROVIDER: {self._name}: {error}") from error
        if not callable(self._function):
            raise SettingsError(f"ORCH_KAFKA_TOKEN_PROVIDER: {self._name} is not a function")

    async def token(self) -> str:
        """The token for a new connection."""
        try:
            async with asyncio.timeout(self._timeout_s):
                found = self._function()
                token = await found if inspect.isawaitable(found) else found
        except Exception as error:
            # aiokafka goes on to the next broker, and the caller tries again later.
            raise KafkaConnectionError(f"{self._name} raised {type(error).__name__}") from error
        if not isinstance(token, str) or not token:
            raise KafkaConnectionError(f"{self._name} returned no token")
        return token
