"""How every Kafka client of this process connects: addresses, TLS, login, and its bound."""

from __future__ import annotations

import ssl
from functools import cache
from pathlib import Path
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from streams.kafka.token_provider import TokenProvider
from streams.settings import KafkaSettings
from streams.tls import ClientTls, rotating_context
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
        return faust.OAuthCredentials(oauth_cb=TokenProvider(kafka), ssl_context=context)
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
        return options | {"sasl_oauth_token_provider": TokenProvider(kafka)}
    return options | {
        "sasl_plain_username": kafka.username,
        "sasl_plain_password": password(kafka),
    }


def password(kafka: KafkaSettings) -> str:
    """The password of the settings, or what their file holds now.

    A file that goes wrong later keeps its last good contents.

    Raises:
        SettingsError: at the start; the file cannot be read, or does not hold one line.
    """
    if kafka.password_file is None:
        return kafka.password
    return _password_file(kafka.password_file).value()


@cache
def _password_file(path: Path) -> WatchedFile[str]:
    return WatchedFile(path, secret_line, setting="ORCH_KAFKA_PASSWORD_FILE")


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
    return _rotating(kafka.ca_file, kafka.certificate_file, kafka.key_file)


@cache
def _rotating(
    ca_file: Path | None, certificate_file: Path | None, key_file: Path | None
) -> ssl.SSLContext:
    """The context of all clients of a process with the same files."""
    return rotating_context(
        ClientTls(ca_file=ca_file, certificate_file=certificate_file, key_file=key_file)
    )
