"""Which files and headers may be given for which service."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.services.access import HeaderSource
from agents.services.sending import is_allowed_name, is_sendable
from agents.services.settings import ServicesSettings
from orchestrator.settings import load_settings
from schemas.errors import SettingsError

ADDRESSES = (
    "poet=grpcs://poet.example:1,plain=grpc://plain.example:1,"
    "critic=https://critic.example,open-page=http://open.example,rank=python://math:sqrt"
)


def with_settings(**given: str) -> ServicesSettings:
    return ServicesSettings(extra=ADDRESSES, **given)  # type: ignore[arg-type]


def test_files_of_all_services_are_given_to_those_with_tls_only() -> None:
    access = with_settings(ca_files="*=/all.pem, critic = /own.pem").access()

    shown = {name: str(access[name].files.ca_file) for name in ("poet", "critic", "plain", "rank")}
    assert shown == {"poet": "/all.pem", "critic": "/own.pem", "plain": "None", "rank": "None"}


def test_a_header_has_its_value_or_the_file_of_it() -> None:
    given = "poet.Authorization=Bearer file:/run/token,poet.x-a=b=c,open-page.x.y=file:/k"
    access = with_settings(headers=given).access()

    token, other = access["poet"].headers
    assert (token.name, token.value, str(token.file)) == ("authorization", "Bearer ", "/run/token")
    assert (other.name, other.value, other.file) == ("x-a", "b=c", None)
    assert access["open_page"].headers[0].name == "x.y"


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("ca_files", "plain=/ca.pem", "plain, whose address is without TLS"),
        ("certificate_files", "open-page=/c.pem", "open_page, whose address is without TLS"),
        ("ca_files", "rank=/ca.pem", "rank, whose address is without TLS"),
        ("ca_files", "poett=/ca.pem", "poett, which has no address"),
        ("headers", "poett.x-a=b", "poett, which has no address"),
        ("ca_files", "/ca.pem", "an entry that is not service=file"),
        ("ca_files", "poet=", "an entry that is not service=file"),
        ("ca_files", "poet=/a,poet=/b", "poet twice"),
        ("key_files", "poet=/key.pem", "which has no certificate"),
        ("headers", "rank.x-a=b", "rank, which is a function"),
        ("headers", "*.x-a=b", "an entry that is not service.header=value"),
        ("headers", "poet=b", "an entry that is not service.header=value"),
        ("headers", "poet.x-a=b,poet.X-A=c", "twice"),
    ],
)
def test_what_contradicts_the_addresses_stops_the_start(
    setting: str, value: str, said: str
) -> None:
    with pytest.raises(SettingsError, match=said) as raised:
        load_settings({"ORCH_SERVICES_EXTRA": ADDRESSES, f"ORCH_SERVICES_{setting.upper()}": value})

    assert str(raised.value).startswith(f"ORCH_SERVICES_*: {setting} ")


@pytest.mark.parametrize(
    "name",
    [
        "host",
        "connection",
        "te",
        "transfer-encoding",
        "upgrade",
        "keep-alive",
        "content-length",
        "content-type",
        "idempotency-key",
        "x-timeout-ms",
        "traceparent",
        "tracestate",
        "grpc-timeout",
        "x-bin",
        "proxy-authorization",
        "trailer",
        ":path",
        "a(b",
        "ü",
    ],
)
def test_headers_of_the_connection_and_of_ours_cannot_be_set(name: str) -> None:
    with pytest.raises(ValueError, match="headers"):
        with_settings(headers=f"poet.{name}=value")


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_header_that_is_accepted_can_be_sent_and_is_never_quoted(name: str, value: str) -> None:
    secret = f"s3cr3t{value}"
    settings = f"poet.{name}={secret}"
    said, headers = "", tuple[HeaderSource, ...]()
    try:
        headers = with_settings(headers=settings).access()["poet"].headers
    except ValueError as error:
        said = str(error)
    assert "s3cr3t" not in said
    for header in headers:
        assert is_allowed_name(header.name)
        assert header.file is not None or is_sendable(header.value)


def test_a_value_is_in_no_repr() -> None:
    settings = with_settings(headers="poet.authorization=s3cr3t")

    assert "s3cr3t" not in f"{settings!r}{settings.access()!r}"
