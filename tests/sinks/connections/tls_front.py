"""TLS before a Postgres that has none: the packaged one is built without it.

The front answers as a server with ``ssl=on`` does, and passes on what is inside of TLS.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import trustme

from tests.agents.services.secured import server_context

_SSL_REQUEST = b"\0\0\0\x08\x04\xd2\x16\x2f"


@contextlib.asynccontextmanager
async def a_tls_front(dsn: str, certificate: trustme.LeafCert | None) -> AsyncIterator[str]:
    """The DSN of the front, without ``sslmode``.

    Args:
        dsn: the Postgres behind it.
        certificate: None: a server with ``ssl=off``.
    """
    behind = urlsplit(dsn)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            first = await reader.readexactly(8)
            if first == _SSL_REQUEST:
                first = b""
                writer.write(b"N" if certificate is None else b"S")
                await writer.drain()
                if certificate is not None:
                    await writer.start_tls(server_context(certificate))
            inner = await asyncio.open_connection(behind.hostname, behind.port)
            inner[1].write(first)
            await asyncio.gather(_pass_on(reader, inner[1]), _pass_on(inner[0], writer))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    place = f"{behind.username}:{behind.password}@127.0.0.1:{port}"
    try:
        yield urlunsplit(behind._replace(netloc=place))
    finally:
        server.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
