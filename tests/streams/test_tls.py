"""TLS contexts of clients: a wrong file is named."""

from pathlib import Path

import pytest
import trustme

from schemas.errors import SettingsError
from streams.tls import ClientTls


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
