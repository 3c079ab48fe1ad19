"""The service over TLS: every transport, client certificates, certificates that are replaced."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import trustme
import websockets
from cryptography import x509

from orchestrator.api.server import Serving, open_service
from orchestrator.settings import load_settings
from schemas.errors import SettingsError
from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from schemas.gen.orchestrator.v1.orchestrator_pb2_grpc import OrchestratorStub
from tests.api.calling import KEYS, Served, a_create
from tests.commands import Ended, run_command

pytestmark = pytest.mark.asyncio(loop_scope="session")
TENANT, KEY = next(iter(KEYS.items()))
AUTHORIZATION = {"authorization": f"Bearer {KEY}"}
TASK = {"type": "rag", "input": {"query": "What is a lane?"}}
WAIT_S = 30.0


@dataclass
class Files:
    """The files of the service and of one client, and who signs them."""

    folder: Path
    ca: trustme.CA

    @classmethod
    def made(cls, folder: Path) -> Files:
        ca = trustme.CA()
        ca.cert_pem.write_to_path(str(folder / "ca.pem"))
        files = cls(folder, ca)
        files.issue("server", ca)
        files.issue("client", ca)
        return files

    def issue(self, name: str, ca: trustme.CA) -> None:
        """A new certificate and key, as a deployment replaces them: one file after the other."""
        issued = ca.issue_cert("127.0.0.1", "localhost")
        chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        for kind, contents in (("key", issued.private_key_pem.bytes()), ("pem", chain)):
            scratch = self.folder / "scratch"
            scratch.write_bytes(contents)
            scratch.rename(self.folder / f"{name}.{kind}")

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def variables(self, *, clients: bool = False) -> dict[str, str]:
        """Of the service."""
        variables = {
            "ORCH_API_TLS_CERTIFICATE_FILE": self.path("server.pem"),
            "ORCH_API_TLS_KEY_FILE": self.path("server.key"),
        }
        if clients:
            variables["ORCH_API_TLS_CLIENT_CA_FILE"] = self.path("ca.pem")
        return variables

    def context(self, *, certificate: bool = False, ca: str = "ca.pem") -> ssl.SSLContext:
        """Of a client."""
        context = ssl.create_default_context(cafile=self.path(ca))
        if certificate:
            context.load_cert_chain(self.path("client.pem"), self.path("client.key"))
        return context

    def credentials(self, *, certificate: bool = False) -> grpc.ChannelCredentials:
        key, chain = (
            ((self.folder / "client.key").read_bytes(), (self.folder / "client.pem").read_bytes())
            if certificate
            else (None, None)
        )
        return grpc.ssl_channel_credentials((self.folder / "ca.pem").read_bytes(), key, chain)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files.made(tmp_path)


@asynccontextmanager
async def a_replica(served: Served, variables: dict[str, str]) -> AsyncIterator[Serving]:
    environment = {
        **served.running.system.environment,
        "ORCH_API_GRPC_PORT": "0",
        "ORCH_API_HTTP_PORT": "0",
        **variables,
    }
    async with open_service(load_settings(environment)) as serving:
        yield serving


def client(serving: Serving, context: ssl.SSLContext) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=f"https://{serving.http_address}", verify=context, headers=AUTHORIZATION
    )


async def create_over_http(serving: Serving, context: ssl.SSLContext) -> str:
    async with client(serving, context) as http:
        answer = await http.post("/api/v1/tasks", json=TASK)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["task"]["id"])


async def events_over_sse(serving: Serving, context: ssl.SSLContext, task_id: str) -> list[str]:
    async with client(serving, context) as http:
        path = f"/api/v1/tasks/{task_id}/events"
        async with http.stream(
            "GET", path, headers={"accept": "text/event-stream"}, timeout=WAIT_S
        ) as answer:
            assert answer.status_code == 200
            return [line async for line in answer.aiter_lines() if line.startswith("event: ")]


async def message_over_websocket(serving: Serving, context: ssl.SSLContext, task_id: str) -> Any:
    address = f"wss://{serving.http_address}/api/v1/ws"
    async with websockets.connect(address, ssl=context, additional_headers=AUTHORIZATION) as socket:
        await socket.send(json.dumps({"type": "watch", "task_id": task_id}))
        async with asyncio.timeout(WAIT_S):
            return json.loads(await socket.recv())


async def create_over_grpc(serving: Serving, credentials: grpc.ChannelCredentials) -> str:
    async with grpc.aio.secure_channel(serving.grpc_address, credentials) as channel:
        answer = await OrchestratorStub(channel).CreateTask(
            a_create(), metadata=tuple(AUTHORIZATION.items()), timeout=WAIT_S
        )
        return str(answer.task.id)


@pytest.mark.parametrize("clients", [False, True], ids=["server only", "both sides"])
async def test_every_transport_works(served: Served, files: Files, clients: bool) -> None:
    async with a_replica(served, files.variables(clients=clients)) as serving:
        context = files.context(certificate=clients)
        task_id = await create_over_http(serving, context)
        assert await events_over_sse(serving, context, task_id)
        assert await message_over_websocket(serving, context, task_id)
        assert await create_over_grpc(serving, files.credentials(certificate=clients))


async def test_a_client_in_the_clear_reaches_nothing(served: Served, files: Files) -> None:
    async with a_replica(served, files.variables()) as serving:
        async with httpx.AsyncClient(base_url=f"http://{serving.http_address}") as http:
            with pytest.raises(httpx.HTTPError):
                await http.get("/healthz")
        async with grpc.aio.insecure_channel(serving.grpc_address) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await OrchestratorStub(channel).ListTasks(pb.ListTasksRequest(), timeout=5)


@pytest.mark.parametrize("begin", [b"", b"\x16\x03\x01"], ids=["silent", "half a handshake"])
async def test_a_handshake_that_does_not_end_is_cut(
    served: Served, files: Files, begin: bytes
) -> None:
    variables = {**files.variables(), "ORCH_API_LIMITS_HEADER_TIMEOUT_S": "0.5"}
    async with a_replica(served, variables) as serving:
        for address in (serving.http_address, serving.grpc_address):
            host, port = address.rsplit(":", 1)
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(begin)
            async with asyncio.timeout(WAIT_S):
                assert await reader.read() == b""
            writer.close()


async def test_a_client_without_a_certificate_is_refused(served: Served, files: Files) -> None:
    async with a_replica(served, files.variables(clients=True)) as serving:
        with pytest.raises(httpx.HTTPError):
            await create_over_http(serving, files.context())
        with pytest.raises(grpc.aio.AioRpcError):
            await create_over_grpc(serving, files.credentials())


async def test_a_certificate_of_a_stranger_is_refused(served: Served, files: Files) -> None:
    async with a_replica(served, files.variables(clients=True)) as serving:
        files.issue("client", trustme.CA())
        with pytest.raises(httpx.HTTPError):
            await create_over_http(serving, files.context(certificate=True))
        with pytest.raises(grpc.aio.AioRpcError):
            await create_over_grpc(serving, files.credentials(certificate=True))


async def shown_by(address: str, context: ssl.SSLContext) -> int:
    """The serial number of the certificate that a new connection is shown."""
    host, port = address.rsplit(":", 1)
    _, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=host)
    try:
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return x509.load_der_x509_certificate(der).serial_number
    finally:
        writer.close()


async def test_a_certificate_is_replaced_while_streams_are_open(
    served: Served, files: Files
) -> None:
    async with a_replica(served, files.variables()) as serving:
        context = files.context()
        held = {"type": "rag", "input": {"query": "What is a lane?"}, "hold": True}
        async with client(serving, context) as http:
            created = await http.post("/api/v1/tasks", json=held)
            task_id = created.json()["task"]["id"]
            watching = asyncio.create_task(events_over_sse(serving, context, task_id))
            addresses = (serving.http_address, serving.grpc_address)
            before = [await shown_by(address, context) for address in addresses]
            files.issue("server", files.ca)
            after = [await shown_by(address, context) for address in addresses]
            assert before[0] == before[1]
            assert after[0] == after[1]
            assert before[0] != after[0]
            # The stream and the kept connection are of before, and go on.
            answer = await http.post(f"/api/v1/tasks/{task_id}:execute")
            assert answer.status_code < 300, answer.text
            assert await asyncio.wait_for(watching, WAIT_S)
            assert await create_over_grpc(serving, files.credentials())


async def test_files_that_do_not_fit_keep_the_certificate_in_use(
    served: Served, files: Files
) -> None:
    async with a_replica(served, files.variables()) as serving:
        context = files.context()
        before = await shown_by(serving.http_address, context)
        (files.folder / "server.key").write_text("half a fi")
        assert await shown_by(serving.http_address, context) == before
        assert await shown_by(serving.grpc_address, context) == before
        files.issue("server", files.ca)
        assert await shown_by(serving.http_address, context) != before
        assert await shown_by(serving.grpc_address, context) != before


async def test_an_authority_of_clients_is_replaced(served: Served, files: Files) -> None:
    async with a_replica(served, files.variables(clients=True)) as serving:
        other = trustme.CA()
        both = (files.folder / "ca.pem").read_bytes() + other.cert_pem.bytes()
        (files.folder / "both.pem").write_bytes(both)
        old = files.context(certificate=True, ca="both.pem")
        assert await create_over_http(serving, old)
        other.cert_pem.write_to_path(str(files.folder / "ca.pem"))
        with pytest.raises(httpx.HTTPError):
            await create_over_http(serving, old)
        files.issue("client", other)
        assert await create_over_http(serving, files.context(certificate=True, ca="both.pem"))


@pytest.mark.parametrize("clients", [False, True], ids=["server only", "both sides"])
async def test_the_command_line_speaks_tls(served: Served, files: Files, clients: bool) -> None:
    async with a_replica(served, files.variables(clients=clients)) as serving:
        variables = {
            "ORCH_API_SERVER": serving.grpc_address,
            "ORCH_API_KEY": KEY,
            "ORCH_API_CLIENT_CA_FILE": files.path("ca.pem"),
        }
        if clients:
            variables |= {
                "ORCH_API_CLIENT_CERTIFICATE_FILE": files.path("client.pem"),
                "ORCH_API_CLIENT_KEY_FILE": files.path("client.key"),
            }
        ended = await command(
            variables, "task", "create", "--type", "rag", "--input", json.dumps(TASK["input"])
        )
        assert ended.status == 0, ended.err


async def command(variables: dict[str, str], *arguments: str) -> Ended:
    return await asyncio.to_thread(run_command, arguments, variables)


async def test_the_command_line_says_that_it_does_not_trust_the_service(
    served: Served, files: Files
) -> None:
    async with a_replica(served, files.variables()) as serving:
        trustme.CA().cert_pem.write_to_path(files.path("other.pem"))
        variables = {
            "ORCH_API_SERVER": serving.grpc_address,
            "ORCH_API_CLIENT_CA_FILE": files.path("other.pem"),
        }
        ended = await command(variables, "task", "list")
        assert ended.status == 1
        assert "ORCH_API_CLIENT_CA_FILE" in ended.err
        del variables["ORCH_API_CLIENT_CA_FILE"]
        ended = await command(variables, "task", "list")
        assert ended.status == 1
        assert "ORCH_API_CLIENT_TLS" in ended.err


@pytest.mark.parametrize("name", ["CERTIFICATE_FILE", "KEY_FILE", "CLIENT_CA_FILE"])
async def test_a_file_that_is_wrong_stops_the_start(
    served: Served, files: Files, name: str
) -> None:
    variables = files.variables(clients=True)
    (files.folder / "wrong.pem").write_text("not PEM")
    variables[f"ORCH_API_TLS_{name}"] = files.path("wrong.pem")
    with pytest.raises(SettingsError, match="wrong"):
        async with a_replica(served, variables):
            pass


def test_an_address_that_others_reach_needs_tls_or_a_proxy(files: Files) -> None:
    keys = {"ORCH_API_HOST": "0.0.0.0", "ORCH_API_KEYS": f"t:{'0' * 64}"}
    with pytest.raises(SettingsError, match="ORCH_API_TLS_PLAINTEXT"):
        load_settings(keys)
    load_settings({**keys, "ORCH_API_TLS_PLAINTEXT": "true"})
    load_settings({**keys, **files.variables()})


@pytest.mark.parametrize("variables", [{}, {"ORCH_API_CLIENT_PLAINTEXT": "true"}])
async def test_a_key_is_not_sent_in_the_clear_to_another_machine(variables: dict[str, str]) -> None:
    environment = {"ORCH_API_SERVER": "localhost.invalid:9000", "ORCH_API_KEY": KEY, **variables}
    ended = await command(environment, "task", "list")
    assert ended.status == 1
    refused = "ORCH_API_KEY would be sent to localhost.invalid:9000 without TLS" in ended.err
    assert refused is not bool(variables)
    assert KEY not in ended.err


@pytest.mark.parametrize("host", ["a..b", "x" * 70])
async def test_a_host_name_that_cannot_be_one_is_an_error_of_one_line(host: str) -> None:
    environment = {"ORCH_API_SERVER": f"{host}:9000", "ORCH_API_CLIENT_TLS": "true"}
    ended = await command(environment, "task", "list")
    assert ended.status == 1
    assert "Traceback" not in ended.err
    assert "API_UNAVAILABLE" in ended.err


async def test_a_service_that_wants_certificates_is_recognized_as_one_with_tls(
    served: Served, files: Files
) -> None:
    async with a_replica(served, files.variables(clients=True)) as serving:
        ended = await command({"ORCH_API_SERVER": serving.grpc_address}, "task", "list")
        assert ended.status == 1
        assert "speaks TLS" in ended.err
