"""An HTTP client of one connection, which is closed after its call.

Then no byte behind an answer can be taken for the answer of another call.
"""

from __future__ import annotations

import httpx

from agents.services.service_tls import ServiceTls


def single_connection(tls: ServiceTls | None, timeout: httpx.Timeout) -> httpx.AsyncClient:
    """A client that opens one connection, follows nothing and reads no variable of the system.

    Args:
        tls: for ``https``; its files are looked at now.
        timeout: of connecting and of each read.
    """
    if tls is not None:
        tls.refresh()
    return httpx.AsyncClient(
        verify=tls.context if tls else False,
        timeout=timeout,
        limits=httpx.Limits(max_connections=1, max_keepalive_connections=0),
        trust_env=False,
        follow_redirects=False,
    )


def name_server(request: httpx.Request, server_name: str | None) -> None:
    """Ask for a server by another name than the host of the URL; None: leave it.

    The name is in the header ``Host``, and the certificate is compared with it.
    """
    if server_name is None:
        return
    port = request.url.port
    request.headers["host"] = f"{server_name}:{port}" if port else server_name
    request.extensions["sni_hostname"] = server_name
