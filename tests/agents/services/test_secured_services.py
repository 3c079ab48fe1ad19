"""Services behind TLS: whom we trust, what we show, and files that are replaced."""

import asyncio
import socket
import ssl
from pathlib import Path

import pytest
import trustme
import uvloop

from agents.services.failure import ServiceError
from schemas.errors import SettingsError
from schemas.gen.services.v1 import step_service_pb2 as pb
from tests.agents.services import test_http_client as http
from tests.agents.services.secured import (
    SCHEMES,
    Files,
    Heard,
    a_client,
    a_service,
    server_context,
    server_credentials,
)
from tests.agents.services.test_grpc_client import (
    SOON_S,
    Context,
    ScriptedService,
    a_request,
    a_server,
    answers,
)

over_both = pytest.mark.parametrize("scheme", SCHEMES)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


async def failure_of(address: str, **settings: str) -> ServiceError:
    async with a_client(address, **settings) as client:
        with pytest.raises(ServiceError) as raised:
            await client.call(a_request())
    return raised.value


@over_both
@pytest.mark.parametrize("name", ["poet", "*"])
async def test_a_service_of_our_authority_is_called(files: Files, scheme: str, name: str) -> None:
    heard = Heard()
    async with (
        a_service(scheme, heard, files.server()) as address,
        a_client(address, ca_files=f"{name}={files.ca}") as client,
    ):
        answer = await client.call(a_request())

    assert (answer.output, heard.names) == ("{}", [None])


@over_both
async def test_a_service_of_another_authority_gets_nothing(files: Files, scheme: str) -> None:
    heard, other = Heard(), trustme.CA().issue_cert("127.0.0.1")
    async with a_service(scheme, heard, other) as address:
        error = await failure_of(address, ca_files=f"poet={files.ca}")

    assert (error.code, error.retriable) == ("SERVICE_UNTRUSTED", True)
    assert error.message == "poet: its certificate is not trusted"
    assert heard.tokens == []


@over_both
async def test_without_an_authority_only_public_ones_are_trusted(files: Files, scheme: str) -> None:
    async with a_service(scheme, Heard(), files.server()) as address:
        error = await failure_of(address)

    assert error.code == "SERVICE_UNTRUSTED"


@over_both
async def test_a_certificate_for_another_host_is_refused(files: Files, scheme: str) -> None:
    heard = Heard()
    async with a_service(scheme, heard, files.server("other.example")) as address:
        error = await failure_of(address, ca_files=f"poet={files.ca}")

    assert (error.code, heard.tokens) == ("SERVICE_UNTRUSTED", [])
    assert error.message == "poet: its certificate is for another host"


@over_both
async def test_a_service_that_speaks_no_tls_is_refused(files: Files, scheme: str) -> None:
    async def greets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(greets, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    error = await failure_of(f"{scheme}://127.0.0.1:{port}", ca_files=f"poet={files.ca}")
    server.close()

    assert (error.code, error.message) == ("SERVICE_UNTRUSTED", "poet: it does not speak TLS")


@over_both
async def test_our_certificate_is_shown_to_a_service_that_wants_one(
    files: Files, scheme: str
) -> None:
    heard = Heard()
    files.show("worker")
    async with (
        a_service(scheme, heard, files.server(), wants=files.authority) as address,
        a_client(
            address,
            ca_files=f"*={files.ca}",
            certificate_files=f"poet={files.certificate}",
            key_files=f"poet={files.key}",
        ) as client,
    ):
        await client.call(a_request())

    assert heard.names == ["worker"]


@over_both
async def test_certificate_and_key_may_be_in_one_file(files: Files, scheme: str) -> None:
    heard = Heard()
    files.show("worker")
    both = files.folder / "both.pem"
    both.write_text(files.key.read_text() + files.certificate.read_text())
    async with (
        a_service(scheme, heard, files.server(), wants=files.authority) as address,
        a_client(address, ca_files=f"*={files.ca}", certificate_files=f"*={both}") as client,
    ):
        await client.call(a_request())

    assert heard.names == ["worker"]


@over_both
async def test_a_service_that_wants_another_certificate_is_told_from_one_that_is_down(
    files: Files, scheme: str
) -> None:
    heard = Heard()
    files.show("stranger", by=trustme.CA())
    ca = f"poet={files.ca}"
    async with a_service(scheme, heard, files.server(), wants=files.authority) as address:
        without = await failure_of(address, ca_files=ca)
        wrong = await failure_of(
            address,
            ca_files=ca,
            certificate_files=f"poet={files.certificate}",
            key_files=f"poet={files.key}",
        )

    for error in (without, wrong):
        assert (error.code, error.retriable) == ("SERVICE_TLS_REFUSED", True)
        assert "client certificate" in error.message
    assert heard.tokens == []


@over_both
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_an_alert_of_the_service_is_understood_in_each_version_of_tls(
    files: Files, scheme: str, version: ssl.TLSVersion
) -> None:
    context = server_context(files.server(), wants=files.authority)
    context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_server(("127.0.0.1", 0)) as listening:
        refusing = asyncio.create_task(asyncio.to_thread(refuse_one, listening, context))
        address = f"{scheme}://127.0.0.1:{listening.getsockname()[1]}"
        error = await failure_of(address, ca_files=f"poet={files.ca}")
        alert = await refusing

    assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in alert
    assert error.code == "SERVICE_TLS_REFUSED"


def refuse_one(listening: socket.socket, context: ssl.SSLContext) -> str:
    """Take one connection, with a library that sends alerts; what it says about the caller."""
    listening.settimeout(SOON_S)
    with context.wrap_socket(
        listening.accept()[0], server_side=True, do_handshake_on_connect=False
    ) as connection:
        connection.settimeout(SOON_S)
        try:
            connection.do_handshake()
        except ssl.SSLError as error:
            # Closing with unread bytes would reset the connection before the alert is read.
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
            return str(error)
    raise AssertionError("the caller was accepted")


@over_both
async def test_a_token_that_was_replaced_is_used_by_the_next_call(
    files: Files, scheme: str
) -> None:
    heard, token = Heard(), files.folder / "token"
    token.write_text("first\n")
    async with (
        a_service(scheme, heard, files.server()) as address,
        a_client(
            address,
            ca_files=f"poet={files.ca}",
            headers=f"poet.Authorization=Bearer file:{token}",
        ) as client,
    ):
        await client.call(a_request())
        replacement = files.folder / "new"
        replacement.write_text("second\n")
        replacement.replace(token)
        await client.call(a_request())
        token.write_text("two\nlines\n")
        await client.call(a_request())

    assert heard.tokens == ["Bearer first", "Bearer second", "Bearer second"]


@over_both
async def test_a_certificate_that_was_replaced_is_shown_from_the_next_call_on(
    files: Files, scheme: str
) -> None:
    heard = Heard()
    files.show("before")
    async with (
        a_service(scheme, heard, files.server(), wants=files.authority) as address,
        a_client(
            address,
            ca_files=f"poet={files.ca}",
            certificate_files=f"poet={files.certificate}",
            key_files=f"poet={files.key}",
        ) as client,
    ):
        await client.call(a_request())
        key = files.key.read_text()
        files.show("after")
        new_key = files.key.read_text()
        files.key.write_text(key)
        await client.call(a_request())  # the new certificate does not fit the old key
        files.key.write_text(new_key)
        await client.call(a_request())

    assert heard.names == ["before", "before", "after"]


@over_both
async def test_an_authority_that_was_replaced_is_trusted_by_new_connections(
    files: Files, scheme: str
) -> None:
    heard, other = Heard(), trustme.CA()
    ca = files.folder / "rotating.pem"
    other.cert_pem.write_to_path(str(ca))
    async with (
        a_service(scheme, heard, files.server()) as address,
        a_client(address, ca_files=f"poet={ca}") as client,
    ):
        with pytest.raises(ServiceError):
            await client.call(a_request())
        ca.write_bytes(files.ca.read_bytes())
        await client.call(a_request())

    assert len(heard.names) == 1


async def test_calls_of_an_outdated_channel_end_as_if_nothing_had_changed(files: Files) -> None:
    release = asyncio.Event()

    async def waits(request: pb.RunRequest, context: Context) -> pb.RunResponse:
        await release.wait()
        return pb.RunResponse(output='"old"')

    service = ScriptedService(waits)
    async with (
        a_server(service, credentials=server_credentials(files.server())) as port,
        a_client(f"grpcs://127.0.0.1:{port}", ca_files=f"poet={files.ca}") as client,
    ):
        first = asyncio.create_task(client.call(a_request()))
        async with asyncio.timeout(SOON_S):
            await service.called.wait()
            files.ca.write_text(files.ca.read_text() + "\n")
            service.called.clear()
            second = asyncio.create_task(client.call(a_request()))
            await service.called.wait()
            release.set()
            answers = [await first, await second]

    assert [answer.output for answer in answers] == ['"old"', '"old"']
    assert len({peer for _, _, peer in service.calls}) == 2, "each channel has its connection"


async def test_headers_are_sent_in_the_clear_to_an_address_in_the_clear() -> None:
    over_grpc = ScriptedService(answers)
    over_http = http.ScriptedService(http.answers({"output": {}}))
    async with a_server(over_grpc) as port, http.a_server(over_http) as url:
        for address in (f"grpc://127.0.0.1:{port}", url):
            async with a_client(address, headers="poet.x-team=search") as client:
                await client.call(a_request())

    assert over_grpc.calls[0][1]["x-team"] == "search"
    assert over_http.calls[0][1]["x-team"] == "search"


def test_https_works_on_uvloop(files: Files) -> None:
    async def call() -> str:
        async with (
            a_service("https", Heard(), files.server()) as address,
            a_client(address, ca_files=f"poet={files.ca}") as client,
        ):
            await client.call(a_request())
            return (await client.call(a_request())).output

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(call()) == "{}"


@over_both
@pytest.mark.parametrize(
    ("setting", "variable"),
    [
        ("ca_files", "ORCH_SERVICES_CA_FILES"),
        ("certificate_files", "ORCH_SERVICES_CERTIFICATE_FILES"),
    ],
)
@pytest.mark.parametrize("contents", [None, "no PEM at all"])
async def test_a_wrong_file_stops_the_start_with_its_variable_and_its_name(
    tmp_path: Path, scheme: str, setting: str, variable: str, contents: str | None
) -> None:
    wrong = tmp_path / "wrong.pem"
    if contents is not None:
        wrong.write_text(contents)
    with pytest.raises(SettingsError, match=f"{variable}.*wrong.pem"):
        async with a_client(f"{scheme}://poet.example:1", **{setting: f"poet={wrong}"}):
            pass


@pytest.mark.parametrize("scheme", ["grpc", "http", *SCHEMES])
@pytest.mark.parametrize("contents", [None, "", "two\nlines", " spaced ", "ü"])
async def test_a_wrong_file_of_a_header_stops_the_start_without_its_contents(
    tmp_path: Path, scheme: str, contents: str | None
) -> None:
    wrong = tmp_path / "token"
    if contents is not None:
        wrong.write_text(contents)
    with pytest.raises(SettingsError, match=r"ORCH_SERVICES_HEADERS.*token") as raised:
        async with a_client(f"{scheme}://poet.example:1", headers=f"poet.x-key=file:{wrong}"):
            pass

    assert not contents or contents not in str(raised.value)
