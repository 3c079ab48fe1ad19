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
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if await _failure(address, context) is None:
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
    if isinstance(found, ssl.SSLError):
        reason = found.reason or ""
        if "CERTIFICATE" in reason or "UNKNOWN_CA" in reason:
            return f"{address} wants a certificate that it trusts: ORCH_API_CLIENT_CERTIFICATE_FILE"
        return f"{address} does not speak TLS: unset ORCH_API_CLIENT_TLS and its files"
    return None


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
    except (OSError, ssl.SSLError) as error:
        return error
    finally:
        if writer is not None:
            writer.close()
    return None
