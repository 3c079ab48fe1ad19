"""Why no call to the service is possible although something listens at its address.

gRPC reports each reason as "unavailable".
"""

import asyncio
import ssl

from orchestrator.api.tls.settings import ApiClientSettings

_CONNECT_S = 2.0


async def tls_failure(address: str, tls: ApiClientSettings) -> str | None:
    """A sentence about what is wrong with TLS between us and this address; None: nothing is.

    Bounded by some seconds. It is also None if nobody listens there.
    """
    if not tls.on:
        found = await _failure(address, _unverified())
        if found is None or (isinstance(found, ssl.SSLError) and not _speaks_no_tls(found)):
            return (
                f"{address} speaks TLS: set ORCH_API_CLIENT_CA_FILE, or ORCH_API_CLIENT_TLS=true "
                "if this machine trusts its certificate"
            )
        return None
    found = await _failure(address, tls.context())
    if isinstance(found, ssl.SSLCertVerificationError):
        return (
            f"the certificate of {address} is not accepted: {found.verify_message} "
            "(ORCH_API_CLIENT_CA_FILE names whom to trust)"
        )
    if not isinstance(found, ssl.SSLError):
        return None
    reason = found.reason or ""
    if "CERTIFICATE" in reason or "UNKNOWN_CA" in reason:
        return f"{address} wants a certificate that it trusts: ORCH_API_CLIENT_CERTIFICATE_FILE"
    if _speaks_no_tls(found):
        return f"{address} does not speak TLS, and ORCH_API_CLIENT_TLS or its files ask for it"
    return f"TLS with {address} failed: {reason.replace('_', ' ').lower() or 'without a reason'}"


def _unverified() -> ssl.SSLContext:
    """For looking whether somebody speaks TLS; nothing is sent over such a connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _speaks_no_tls(error: ssl.SSLError) -> bool:
    """True if the first answer was not a record of TLS."""
    reason = error.reason or ""
    return "WRONG_VERSION_NUMBER" in reason or "RECORD_LAYER" in reason


async def _failure(address: str, context: ssl.SSLContext) -> Exception | None:
    """What a connection ends with; None if TLS works."""
    host, _, port = address.rpartition(":")
    context.set_alpn_protocols(["h2"])
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(_CONNECT_S):
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=context)
            # From TLS 1.3 on a server refuses our certificate after the handshake.
            await reader.read(1)
    except TimeoutError:
        # The server waits for a request: the handshake is over.
        return None if writer is not None else TimeoutError()
    except (OSError, UnicodeError) as error:
        # UnicodeError: a host name that cannot be one.
        return error
    finally:
        if writer is not None:
            writer.close()
    return None
