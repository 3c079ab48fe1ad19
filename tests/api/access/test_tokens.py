"""Tokens of an issuer: which are taken, which are not, and what happens while it is away."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.api.access.access import Access
from orchestrator.api.access.caller import Caller
from orchestrator.api.access.key_ring import KeyRing
from orchestrator.api.access.keys import Keys, key_hash
from orchestrator.api.access.oidc.issuer_keys import IssuerKeys
from orchestrator.api.access.oidc.tokens import Tokens
from orchestrator.api.access.rights import Right
from orchestrator.api.errors import ApiError
from orchestrator.api.settings import ApiSettings
from orchestrator.settings import load_settings
from schemas.errors import SettingsError
from tests.api.access.issuer import AUDIENCE, Issuer

STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    made = Issuer()
    async with made.running():
        yield made


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def access_of(issuer: Issuer, clock: Clock | None = None, **changes: Any) -> Access:
    given = {"oidc_issuer": issuer.url, "oidc_audience": AUDIENCE} | changes
    config = ApiSettings(**given).oidc
    assert config is not None
    tokens = Tokens(config, IssuerKeys(config, clock or time.monotonic))
    return Access(KeyRing(Keys.parse(f"acme:{key_hash('orch_1')}")), "default", tokens=tokens)


async def caller_of(access: Access, token: str) -> Caller:
    return await access.caller(f"Bearer {token}", transport="http")


async def code_of(access: Access, token: str) -> str | None:
    try:
        await caller_of(access, token)
    except ApiError as error:
        return error.code
    return None


@pytest.mark.parametrize("kid", ["rsa-1", "ec-1"])
async def test_a_token_of_the_issuer_is_a_caller_of_its_tenant(issuer: Issuer, kid: str) -> None:
    access = access_of(issuer)
    caller = await caller_of(access, issuer.token(kid))

    assert (caller.tenant_id, set(caller.scopes)) == ("acme", {Right.READ, Right.WRITE})
    assert (caller.actor, caller.key_id) == ("api/http/oidc:someone", "oidc:someone")
    assert caller.expires_at is not None
    assert abs(caller.expires_at / 1000 - time.time() - 630) < 5
    assert await code_of(access, "orch_1") is None
    assert await code_of(access, "orch_2") == "UNAUTHENTICATED"


def forged(issuer: Issuer, header: dict[str, Any], signature: bytes = b"") -> str:
    """The claims of a good token under another header."""
    _, claims, _ = issuer.token().split(".")
    return f"{encoded(json.dumps(header).encode())}.{claims}.{encoded(signature)}"


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


def by_public_key(issuer: Issuer) -> str:
    """HS256 with the public key as its secret: everybody has that one."""
    public = issuer.keys["rsa-1"][1].public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    text = forged(issuer, {"alg": "HS256", "kid": "rsa-1", "typ": "JWT"}).rpartition(".")[0]
    return f"{text}.{encoded(hmac.new(pem, text.encode(), hashlib.sha256).digest())}"


FORGERIES: dict[str, Callable[[Issuer], str]] = {
    "another issuer": lambda i: i.token(iss="https://evil.example"),
    "no issuer": lambda i: i.token(iss=None),
    "another audience": lambda i: i.token(aud="payroll"),
    "no audience": lambda i: i.token(aud=None),
    "no end": lambda i: i.token(exp=None),
    "an endless end": lambda i: i.token(exp=float("inf")),
    "an end that is text": lambda i: i.token(exp="tomorrow"),
    "not yet valid": lambda i: i.token(nbf=time.time() + 600),
    "no subject": lambda i: i.token(sub=None),
    "no tenant": lambda i: i.token(tenant=None),
    "a tenant that is none": lambda i: i.token(tenant="a b"),
    "two tenants": lambda i: i.token(tenant=["acme", "other"]),
    "no signature": lambda i: forged(i, {"alg": "none", "kid": "rsa-1"}),
    "no signature, spelt anew": lambda i: forged(i, {"alg": "nOnE", "kid": "rsa-1"}),
    "no algorithm": lambda i: forged(i, {"kid": "rsa-1"}),
    "HS256 by the public key": by_public_key,
    "an extension that must be known": lambda i: forged(
        i, {"alg": "RS256", "kid": "rsa-1", "crit": ["b64"], "b64": False}
    ),
    "an algorithm that is not configured": lambda i: i.token(algorithm="RS512"),
    "the key of another algorithm": lambda i: i.token("ec-1", key=STRANGER, algorithm="RS256"),
    "a stranger's key": lambda i: i.token(key=STRANGER),
    "an unknown key": lambda i: i.token("rsa-9", key=STRANGER),
    "no key id": lambda i: i.token(None),
    "other claims": lambda i: ".".join(
        (i.token().split(".")[0], i.token(tenant="other").split(".")[1], i.token().split(".")[2])
    ),
    "a deep header": lambda i: f"{encoded(b'[' * 9_000)}.e30.e30",
    "a long one": lambda i: i.token(note="x" * 20_000),
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_token_that_is_not_quite_right_is_refused(issuer: Issuer, forgery: str) -> None:
    access = access_of(issuer)

    assert await code_of(access, FORGERIES[forgery](issuer)) == "UNAUTHENTICATED"


async def test_only_configured_algorithms_are_taken_where_keys_name_none(issuer: Issuer) -> None:
    keys = [{n: v for n, v in key.items() if n != "alg"} for key in issuer.jwks()["keys"]]
    issuer.answers["/keys"] = json.dumps({"keys": keys}).encode()
    by_default, wider = access_of(issuer), access_of(issuer, oidc_algorithms="RS512")

    for algorithm, taken_by in (("RS256", by_default), ("RS512", wider)):
        token = issuer.token(algorithm=algorithm)
        for access in (by_default, wider):
            expected = None if access is taken_by else "UNAUTHENTICATED"
            assert await code_of(access, token) == expected
    assert await code_of(by_default, by_public_key(issuer)) == "UNAUTHENTICATED"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(st.characters(codec="ascii"), max_size=40), st.binary(max_size=40))
async def test_no_text_is_taken_for_a_token(issuer: Issuer, text: str, junk: bytes) -> None:
    access = access_of(issuer)
    for token in (f"{text}.{text}.{text}", f"{encoded(junk)}.{encoded(junk)}.{text}"):
        assert await code_of(access, token) == "UNAUTHENTICATED"


async def test_a_token_ends_with_its_time_and_a_little_more(issuer: Issuer) -> None:
    access = access_of(issuer)

    assert await code_of(access, issuer.token(ends_in_s=-10)) is None
    assert await code_of(access, issuer.token(ends_in_s=-40)) == "KEY_EXPIRED"


async def test_the_streams_of_a_token_end_with_it(issuer: Issuer) -> None:
    access = access_of(issuer, oidc_leeway_s=0.5)
    caller = await caller_of(access, issuer.token(ends_in_s=1.5))

    async def endless() -> AsyncGenerator[int]:
        yield 1
        await asyncio.Event().wait()

    stream = access.while_allowed(caller, endless())
    seen = [await anext(stream)]
    with pytest.raises(ApiError) as ended:
        await asyncio.wait_for(anext(stream), 5)

    assert (seen, ended.value.code) == ([1], "KEY_EXPIRED")


async def test_claims_are_mapped_to_a_tenant_and_to_rights(issuer: Issuer) -> None:
    access = access_of(
        issuer,
        oidc_tenant_claim="https://acme.example/team",
        oidc_scope_claim="roles",
        oidc_scopes="tasks.read=read, tasks.run = write,boss=operate".replace(" = ", "="),
    )

    async def told(**claims: Any) -> tuple[str, set[Right]]:
        caller = await caller_of(access, issuer.token(**claims))
        return caller.tenant_id, set(caller.scopes)

    team = "https://acme.example/team"
    assert await told(**{team: "umbrella", "roles": ["tasks.read", "cook", 7]}) == (
        "umbrella",
        {Right.READ},
    )
    assert await told(**{team: "umbrella", "roles": "tasks.run boss"}) == (
        "umbrella",
        {Right.WRITE},
    )
    assert await told(**{team: "*", "roles": "boss"}) == ("*", {Right.OPERATE})
    assert await told(**{team: "umbrella", "scope": "read"}) == ("umbrella", set())


async def test_a_subject_that_is_an_address_is_not_written_into_events(issuer: Issuer) -> None:
    caller = await caller_of(access_of(issuer), issuer.token(sub="zoë@example.com"))

    assert "example" not in caller.actor
    assert len(caller.actor) <= 64


async def test_a_new_key_of_the_issuer_is_found_and_invented_ones_do_not_flood_it(
    issuer: Issuer,
) -> None:
    clock = Clock()
    access = access_of(issuer, clock)
    assert await code_of(access, issuer.token()) is None
    first = len(issuer.asked)
    for number in range(50):
        await code_of(access, issuer.token(f"invented-{number}", key=STRANGER))
    issuer.keys["rsa-2"] = ("RS256", STRANGER)
    too_soon = await code_of(access, issuer.token("rsa-2"))
    clock.now += 11
    found = await asyncio.gather(*(code_of(access, issuer.token("rsa-2")) for _ in range(20)))

    assert first == 2, "the discovery document, and the keys"
    assert too_soon == "UNAUTHENTICATED"
    assert set(found) == {None}
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"] * 2


async def test_known_keys_stay_valid_while_the_issuer_is_away() -> None:
    issuer, clock = Issuer(), Clock()
    async with issuer.running():
        access = access_of(issuer, clock)
        assert await code_of(access, issuer.token()) is None
    clock.now += 10_000
    seen = [await code_of(access, issuer.token())]
    clock.now += 11
    seen.append(await code_of(access, issuer.token("rsa-2", key=STRANGER)))
    seen.append(await code_of(access, issuer.token("ec-1")))

    assert seen == [None, "UNAVAILABLE", None]


async def test_without_keys_of_an_issuer_that_is_away_a_token_may_be_tried_again() -> None:
    issuer, clock = Issuer(), Clock()
    async with issuer.running():
        access = access_of(issuer, clock)
    port = int(issuer.url.rpartition(":")[2])
    assert await code_of(access, issuer.token()) == "UNAVAILABLE"
    async with issuer.running(port):
        assert await code_of(access, issuer.token()) == "UNAVAILABLE"
        clock.now += 11
        assert await code_of(access, issuer.token()) is None


async def test_a_slow_issuer_holds_up_neither_known_keys_nor_other_calls(issuer: Issuer) -> None:
    access = access_of(issuer, clock := Clock())
    assert await code_of(access, issuer.token()) is None
    clock.now += 11
    issuer.delay_s = 30
    waiting = asyncio.create_task(code_of(access, issuer.token("rsa-2", key=STRANGER)))
    await asyncio.sleep(0)
    async with asyncio.timeout(1):
        assert await code_of(access, issuer.token()) is None
    assert not waiting.done()
    async with asyncio.timeout(10):
        assert await waiting == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/keys", b"[" * 100_000),
        ("/keys", b" " * 300_000),
        ("/keys", b"[]"),
        ("/keys", b'{"keys": 7}'),
        ("/keys", json.dumps({"keys": [{}] * 101}).encode()),
        ("/.well-known/openid-configuration", b'{"issuer": "https://evil.example"}'),
        ("/.well-known/openid-configuration", b"<html>"),
    ],
)
async def test_documents_of_the_issuer_that_are_none_are_an_outage(
    issuer: Issuer, path: str, document: bytes
) -> None:
    issuer.answers[path] = document

    assert await code_of(access_of(issuer), issuer.token()) == "UNAVAILABLE"


async def test_certificates_that_cannot_be_read_are_an_outage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    issuer = Issuer()
    issuer.url = "https://id.example"  # the environment counts for what is far away only

    access = access_of(issuer)
    assert await code_of(access, issuer.token()) == "UNAVAILABLE"
    assert await code_of(access, issuer.token()) == "UNAVAILABLE"


async def test_a_key_of_an_unknown_kind_is_passed_over(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    access, built = access_of(issuer), jwt.PyJWK

    def unless_ec(data: dict[str, Any], algorithm: str) -> jwt.PyJWK:
        if data["kty"] == "EC":
            raise UnsupportedAlgorithm("this curve is not supported")
        return built(data, algorithm)

    monkeypatch.setattr(jwt, "PyJWK", unless_ec)
    assert await code_of(access, issuer.token("ec-1")) == "UNAUTHENTICATED"
    assert await code_of(access, issuer.token("rsa-1")) is None


async def test_the_keys_are_not_fetched_where_others_could_change_them(issuer: Issuer) -> None:
    for uri in ("http://keys.example/keys", "file:///etc/passwd", "ftp://127.0.0.1/keys", 7):
        said = {"issuer": issuer.url, "jwks_uri": uri}
        issuer.answers["/.well-known/openid-configuration"] = json.dumps(said).encode()

        assert await code_of(access_of(issuer), issuer.token()) == "UNAVAILABLE"


async def test_symmetric_keys_of_the_issuer_are_passed_over(issuer: Issuer) -> None:
    secret = {"kty": "oct", "k": encoded(b"k" * 32), "kid": "rsa-1", "alg": "HS256"}
    issuer.answers["/keys"] = json.dumps({"keys": [secret, *issuer.jwks()["keys"]]}).encode()

    assert await code_of(access_of(issuer), issuer.token()) is None


GOOD = {"ORCH_API_OIDC_ISSUER": "https://id.example", "ORCH_API_OIDC_AUDIENCE": "orchestrator"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"ORCH_API_OIDC_ISSUER": "http://id.example"},
        {"ORCH_API_OIDC_ISSUER": "https://"},
        {"ORCH_API_OIDC_ISSUER": "https://[/"},
        {"ORCH_API_OIDC_ISSUER": "https://user:word@id.example"},
        {"ORCH_API_OIDC_ISSUER": ""},
        {"ORCH_API_OIDC_AUDIENCE": ""},
        {"ORCH_API_OIDC_ALGORITHMS": "RS256,HS256"},
        {"ORCH_API_OIDC_ALGORITHMS": "none"},
        {"ORCH_API_OIDC_ALGORITHMS": ""},
        {"ORCH_API_OIDC_JWKS_URL": "http://id.example/keys"},
        {"ORCH_API_OIDC_TENANT_CLAIM": ""},
        {"ORCH_API_OIDC_SCOPES": "boss=all"},
        {"ORCH_API_OIDC_SCOPES": ""},
        {"ORCH_API_OIDC_REFETCH_S": "0"},
    ],
)
def test_a_wrong_issuer_stops_the_start(wrong: dict[str, str]) -> None:
    assert load_settings(GOOD).api.protected
    with pytest.raises(SettingsError, match="oidc_"):
        load_settings(GOOD | wrong)
