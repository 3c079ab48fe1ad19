"""Services behind TLS on loopback, over both transports, and the files of their callers."""

import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import trustme
from aiohttp import web

from agents.services.client import StepClient
from agents.services.directory import Directory
from agents.services.settings import ServicesSettings
from schemas.gen.services.v1 import step_service_pb2 as pb
from tests.agents.services import test_grpc_client as over_grpc
from tests.agents.services import test_http_client as over_http

SCHEMES = ("grpcs", "https")


class Files:
    """An authority, and certificates of it as files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.ca = folder / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca))
        self.certificate = folder / "client.pem"
        self.key = folder / "client.key"

    def show(self, name: str, *, by: trustme.CA | None = None) -> None:
        """Write the caller's certificate and key, or replace them."""
        issued = (by or self.authority).issue_cert(f"{name}.example", common_name=name)
        self.key.unlink(missing_ok=True)
        issued.private_key_pem.write_to_path(str(self.key))
        self.certificate.unlink(missing_ok=True)
        issued.cert_chain_pems[0].write_to_path(str(self.certificate))

    def server(self, host: str = "127.0.0.1") -> trustme.LeafCert:
        return self.authority.issue_cert(host)


class Heard:
    """What a service saw of its callers."""

    def __init__(self) -> None:
        self.tokens: list[str | None] = []
        self.names: list[str | None] = []
        """The common names of the certificates."""
        self.headers: list[dict[str, str]] = []
        """Over HTTP."""


@contextlib.asynccontextmanager
async def a_service(
    scheme: str,
    heard: Heard,
    server: trustme.LeafCert,
    *,
    wants: trustme.CA | None = None,
) -> AsyncIterator[str]:
    """A service that answers {}; its address.

    Args:
        wants: the authority of the certificates that callers must show.
    """
    if scheme == "grpcs":
        async with _over_grpc(heard, server, wants) as port:
            yield f"grpcs://127.0.0.1:{port}"
    else:
        async with _over_http(heard, server, wants) as url:
            yield url


@contextlib.asynccontextmanager
async def a_client(address: str, **settings: str) -> AsyncIterator[StepClient]:
    """The client of the service ``poet`` with these settings."""
    directory = Directory(ServicesSettings(extra=f"poet={address}", **settings))  # type: ignore[arg-type]
    directory.check(["poet"])
    try:
        yield directory.client("poet")
    finally:
        await directory.close()


def server_credentials(
    server: trustme.LeafCert, wants: trustme.CA | None = None
) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials(
        [(server.private_key_pem.bytes(), server.cert_chain_pems[0].bytes())],
        root_certificates=wants.cert_pem.bytes() if wants else None,
        require_client_auth=wants is not None,
    )


def server_context(server: trustme.LeafCert, wants: trustme.CA | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.configure_cert(context)
    if wants is not None:
        wants.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@contextlib.asynccontextmanager
async def _over_grpc(
    heard: Heard, server: trustme.LeafCert, wants: trustme.CA | None
) -> AsyncIterator[int]:
    async def run(request: pb.RunRequest, context: over_grpc.Context) -> pb.RunResponse:
        metadata: dict[str, Any] = dict(context.invocation_metadata() or ())
        heard.tokens.append(metadata.get("authorization"))
        shown = list(context.auth_context().get("x509_common_name", ()))
        heard.names.append(shown[0].decode() if shown else None)
        return pb.RunResponse(output="{}")

    credentials = server_credentials(server, wants)
    async with over_grpc.a_server(over_grpc.ScriptedService(run), credentials=credentials) as port:
        yield port


@contextlib.asynccontextmanager
async def _over_http(
    heard: Heard, server: trustme.LeafCert, wants: trustme.CA | None
) -> AsyncIterator[str]:
    async def run(request: web.Request) -> web.StreamResponse:
        heard.tokens.append(request.headers.get("authorization"))
        heard.headers.append({name.lower(): value for name, value in request.headers.items()})
        assert request.transport is not None
        shown = request.transport.get_extra_info("peercert") or {}
        subject = {key: value for [(key, value)] in shown.get("subject", ())[-1:]}
        heard.names.append(subject.get("commonName"))
        return web.json_response({"output": {}})

    context = server_context(server, wants)
    async with over_http.a_server(over_http.ScriptedService(run), context=context) as url:
        yield url
