"""TLS contexts of clients: a wrong file is named."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from cryptography import x509

from schemas.errors import SettingsError
from streams.tls import ClientTls, rotating_context
from tests.logged import logged


def test_a_context_checks_the_server_and_its_name(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca"))
    context = ClientTls(ca_file=tmp_path / "ca").context()
    assert context.check_hostname
    assert len(context.get_ca_certs()) == 1, "only the given authority is trusted"


@pytest.mark.parametrize("name", ["ca_file", "certificate_file"])
@pytest.mark.parametrize("contents", [None, "", "no PEM at all"])
def test_a_file_that_is_missing_or_wrong_is_named(
    tmp_path: Path, name: str, contents: str | None
) -> None:
    file = tmp_path / "wrong.pem"
    if contents is not None:
        file.write_text(contents)
    with pytest.raises(SettingsError, match="wrong"):
        ClientTls(**{name: file}).context()


def test_a_key_that_belongs_to_another_certificate_is_refused(tmp_path: Path) -> None:
    ca = trustme.CA()
    one, other = ca.issue_cert("localhost"), ca.issue_cert("localhost")
    one.cert_chain_pems[0].write_to_path(str(tmp_path / "cert"))
    other.private_key_pem.write_to_path(str(tmp_path / "key"))
    tls = ClientTls(certificate_file=tmp_path / "cert", key_file=tmp_path / "key")
    with pytest.raises(SettingsError, match="belongs to another certificate"):
        tls.context()


def test_a_key_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="without a certificate"):
        ClientTls(key_file=tmp_path / "key").context()


class Pair:
    """A certificate and its key in two files, and a server that wants such a certificate."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = trustme.CA()
        self.ca.cert_pem.write_to_path(str(folder / "ca"))
        self.shown: list[int] = []

    def issue(self, *kinds: str) -> trustme.LeafCert:
        """Replace the certificate, its key, or both."""
        issued = self.ca.issue_cert("localhost")
        parts = {"cert": issued.cert_chain_pems[0], "key": issued.private_key_pem}
        for kind in kinds or parts:
            parts[kind].write_to_path(str(self.folder / kind))
        return issued

    @property
    def tls(self) -> ClientTls:
        return ClientTls(
            ca_file=self.folder / "ca",
            certificate_file=self.folder / "cert",
            key_file=self.folder / "key",
        )

    @asynccontextmanager
    async def server(self) -> AsyncIterator[int]:
        """Yields its port; notes the serial number of each certificate that it is shown."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert("127.0.0.1").configure_cert(context)
        self.ca.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED

        def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            self.shown.append(x509.load_der_x509_certificate(der).serial_number)
            writer.write(b"!")

        server = await asyncio.start_server(note, "127.0.0.1", 0, ssl=context)
        async with server:
            yield server.sockets[0].getsockname()[1]


def serial_of(issued: trustme.LeafCert) -> int:
    return x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes()).serial_number


async def connect(port: int, context: ssl.SSLContext) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    assert await reader.readexactly(1) == b"!"
    writer.close()


async def test_one_context_shows_each_certificate_that_the_files_held(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    first = pair.issue()
    context = rotating_context(pair.tls)
    async with pair.server() as port:
        await connect(port, context)
        second = pair.issue()
        await connect(port, context)
    assert pair.shown == [serial_of(first), serial_of(second)]


@pytest.mark.parametrize("kind", ["cert", "key"])
async def test_half_a_replacement_keeps_the_pair_that_is_in_use(tmp_path: Path, kind: str) -> None:
    pair = Pair(tmp_path)
    first = pair.issue()
    context = rotating_context(pair.tls)
    async with pair.server() as port:
        pair.issue(kind)
        with logged("streams.watched_files.log") as lines:
            await connect(port, context)
            await connect(port, context)
        second = pair.issue()
        await connect(port, context)
    assert [line["event"] for line in lines] == ["files_not_used"]
    assert pair.shown == [serial_of(first)] * 2 + [serial_of(second)]


async def test_an_authority_that_was_removed_is_not_trusted_any_more(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    pair.issue()
    context = rotating_context(pair.tls)
    async with pair.server() as port:
        await connect(port, context)
        trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca"))
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(port, context)
