"""The kept connections to one HTTP service."""

import asyncio
from collections import deque
from urllib.parse import urlsplit

from agents.services.connection_faults import TlsRefusedError
from agents.services.http_connection import HttpConnection
from agents.services.service_tls import ServiceTls
from streams.tls import ClientTls

CONNECT_TIMEOUT_S = 5.0
"""A host that drops packets is treated as down; the attempt ends long before its deadline."""

KEPT_MAX = 64
"""Connections that are kept while no call runs on them."""

KEPT_S = 5.0
"""Seconds after which an idle connection is closed: common servers close theirs soon after."""


class HttpPool:
    """Connections to one host; the one used last is used first.

    The pool does not limit the number of connections: the slots of the worker limit the calls,
    and a second queue would only hide their waiting time.

    Args:
        url: ``http://`` or ``https://``, the address of the service with its path.
        max_bytes: the largest body of an answer, inclusive.
        tls: needed for ``https://``.
        server_name: of the certificate and of the header ``Host``; None: the host of the URL.
    """

    def __init__(
        self,
        url: str,
        *,
        max_bytes: int,
        tls: ServiceTls | None = None,
        server_name: str | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.hostname is None:
            raise ValueError("the URL names no host")
        self._host = parts.hostname
        self._tls = tls or ServiceTls(ClientTls()) if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._max_bytes = max_bytes
        self._version = 0
        self._idle: deque[tuple[float, HttpConnection]] = deque()
        self._used: set[HttpConnection] = set()
        self._closed = False
        self._server_name = server_name
        self.authority = f"{server_name}:{self._port}" if server_name else parts.netloc
        """The value of ``Host``."""
        self.target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        """The path and query, as they appear in the request line."""

    @property
    def is_secure(self) -> bool:
        """Whether connections use TLS."""
        return self._tls is not None

    async def acquire(self) -> HttpConnection:
        """A connection for one exchange; give it back with :meth:`release`, whatever happens.

        Raises:
            OSError: the connection was refused, or we do not accept the certificate.
            TlsRefusedError: the service ended the TLS handshake.
            ConnectTimeoutError: no connection in ``CONNECT_TIMEOUT_S``.
        """
        self._look_at_files()
        now_s = asyncio.get_running_loop().time()
        self._drop_old(now_s)
        while self._idle:
            _, connection = self._idle.pop()
            if connection.is_reusable:
                self._used.add(connection)
                return connection
            connection.close()
        connection = await self._connect()
        if self._closed:
            connection.close()
            raise ConnectionAbortedError("the client was closed")
        self._used.add(connection)
        return connection

    def release(self, connection: HttpConnection) -> None:
        """Take a connection back: it is kept if it can be used again, and closed otherwise."""
        self._used.discard(connection)
        now_s = asyncio.get_running_loop().time()
        self._drop_old(now_s)
        current = connection.version == self._version
        if current and connection.is_reusable and len(self._idle) < KEPT_MAX:
            self._idle.append((now_s, connection))
        else:
            connection.close()

    def close(self) -> None:
        """Close all connections; running exchanges fail."""
        self._closed = True
        self.close_idle()
        for connection in list(self._used):
            connection.close()

    def close_idle(self) -> None:
        """Close the connections that are not in use."""
        for _, connection in self._idle:
            connection.close()
        self._idle.clear()

    def _drop_old(self, now_s: float) -> None:
        while self._idle and self._idle[0][0] < now_s - KEPT_S:
            self._idle.popleft()[1].close()

    async def _connect(self) -> HttpConnection:
        loop = asyncio.get_running_loop()
        # The files may change while the connection is opened.
        version = self._version
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, connection = await loop.create_connection(
                    lambda: HttpConnection(max_bytes=self._max_bytes),
                    self._host,
                    self._port,
                    ssl=self._tls.context if self._tls else None,
                    server_hostname=self._server_name if self._tls else None,
                )
        except TimeoutError as error:
            raise ConnectTimeoutError("no connection in time") from error
        except ConnectionRefusedError:
            raise
        except ConnectionError as error:
            if self._tls is None:
                raise
            raise TlsRefusedError(str(error)) from error
        connection.version = version
        return connection

    def _look_at_files(self) -> None:
        """Take no connection again that was opened with other files."""
        if self._tls is None:
            return
        self._tls.refresh()
        if self._tls.version != self._version:
            self._version = self._tls.version
            self.close_idle()


class ConnectTimeoutError(ConnectionError):
    """The host did not accept a connection in time. The service was not called."""
