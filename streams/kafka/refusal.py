"""Finds out why no connection to a broker is possible: it is away, or it refuses this process.

aiokafka reports each reason as "unable to bootstrap". After such a failure one connection is opened
to each address of ``ORCH_KAFKA_BOOTSTRAP``, and its error says which reason it was.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator

from aiokafka.conn import AIOKafkaConnection, collect_hosts, create_conn
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from streams.errors import (
    KafkaLoginRefusedError,
    KafkaRightMissingError,
    KafkaTlsError,
    KafkaUnavailableError,
)
from streams.kafka.connection import security_options
from streams.kafka.token_provider import TokenUnavailableError
from streams.settings import KafkaSettings

_CONNECT_S = 5.0
_LOGIN_ERRORS = (SaslAuthenticationFailed, UnsupportedSaslMechanismError, IllegalSaslStateError)

_RIGHTS = {
    TopicAuthorizationFailedError: "topic",
    GroupAuthorizationFailedError: "consumer group",
    ClusterAuthorizationFailedError: "cluster",
}


async def why_unavailable(kafka: KafkaSettings, error: BaseException) -> KafkaUnavailableError:
    """The error to raise after a client could not start; bounded by some seconds a broker.

    Args:
        kafka: the settings of the client.
        error: what the client raised.

    Returns:
        A :class:`~streams.errors.KafkaRefusedError` if a broker refuses this process. Otherwise one
        that says that no broker answers, with a hint if one answered and closed the connection.
    """
    hint = ""
    for host, port, _family in collect_hosts(kafka.servers):
        found = await _failure(kafka, host, port)
        if found is None:
            # It answers now: whatever it was is over.
            break
        at = f"{host}:{port}"
        if (refused := _login_refused(kafka, at, found) or _tls_failed(at, found)) is not None:
            return refused
        hint = hint or _closed_hint(kafka, at, found)
    return KafkaUnavailableError(f"no broker answers: {error!r}{hint}")


def unavailable(error: BaseException, doing: str = "") -> KafkaUnavailableError:
    """The error to raise after a request failed: the broker is away, or a right is missing.

    Args:
        error: what the client raised.
        doing: what the request was about, for the message.
    """
    about = f"{doing}: " if doing else ""
    for kind, what in _RIGHTS.items():
        if isinstance(error, kind):
            named = ", ".join(map(str, error.args))
            return KafkaRightMissingError(f"{about}this account has no right on the {what} {named}")
    return KafkaUnavailableError(f"{about}{error!r}")


async def _failure(kafka: KafkaSettings, host: str, port: int) -> BaseException | None:
    """What a connection to one broker ends with; None if it answers a request."""
    bound_s = min(_CONNECT_S, kafka.request_timeout_s)
    connection: AIOKafkaConnection | None = None
    try:
        async with asyncio.timeout(bound_s):
            connection = await create_conn(
                host,
                port,
                client_id=f"{kafka.client_id}-why",
                request_timeout_ms=int(bound_s * 1000),
                **security_options(kafka),
            )
            await connection.send(MetadataRequest([]))
    except Exception as error:  # also of a library that does not know what it was sent
        return error
    finally:
        if connection is not None:
            connection.close()
    return None


def _login_refused(
    kafka: KafkaSettings, at: str, error: BaseException
) -> KafkaLoginRefusedError | None:
    for cause in _causes(error):
        if isinstance(cause, UnsupportedSaslMechanismError):
            return KafkaLoginRefusedError(
                f"{at} does not offer ORCH_KAFKA_SASL_MECHANISM={kafka.sasl_mechanism}"
            )
        if isinstance(cause, _LOGIN_ERRORS):
            if kafka.sasl_mechanism == "OAUTHBEARER":
                return KafkaLoginRefusedError(f"{at} refuses the token of {kafka.token_provider}")
            return KafkaLoginRefusedError(
                f"{at} refuses the user {kafka.username!r} with this password "
                f"({kafka.sasl_mechanism})"
            )
    return None


def _tls_failed(at: str, error: BaseException) -> KafkaTlsError | None:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return KafkaTlsError(
                f"the certificate of {at} is not accepted: {cause.verify_message} "
                "(ORCH_KAFKA_CA_FILE names whom to trust)"
            )
        if isinstance(cause, ssl.SSLError):
            reason = (cause.reason or "no TLS").replace("_", " ").lower()
            return KafkaTlsError(f"TLS with {at} failed: {reason}{_advice(cause.reason or '')}")
    return None


def _advice(reason: str) -> str:
    if "CERTIFICATE" in reason or "UNKNOWN_CA" in reason:
        return ": the broker does not accept our certificate (ORCH_KAFKA_CERTIFICATE_FILE)"
    if "WRONG_VERSION_NUMBER" in reason or "RECORD" in reason:
        return ": this listener may speak no TLS (ORCH_KAFKA_SECURITY_PROTOCOL)"
    return ""


def _closed_hint(kafka: KafkaSettings, at: str, error: BaseException) -> str:
    """What to check if a broker ends a connection without a reason, or does not greet."""
    if isinstance(error, TokenUnavailableError):
        return f"; {error.args[0]}"
    if isinstance(error, TimeoutError):
        return f"; {at} is silent: away, frozen, or ORCH_KAFKA_SECURITY_PROTOCOL is wrong"
    # A refused connection is an absent broker. KafkaConnectionError is aiokafka's for a closed one.
    if isinstance(error, ConnectionRefusedError) or not isinstance(
        error, KafkaError | ConnectionError
    ):
        return ""
    if kafka.uses_sasl and kafka.sasl_mechanism == "OAUTHBEARER":
        return f"; {at} closed the connection: it may refuse the token of {kafka.token_provider}"
    return f"; {at} closed the connection: check ORCH_KAFKA_SECURITY_PROTOCOL"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
