"""Every client reaches a broker with TLS and a login, and says why it does not."""

import asyncio
import base64
import json
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
import trustme

from schemas.errors import SettingsError
from schemas.topics import Topics, TopicsSettings
from streams.errors import KafkaLoginRefusedError, KafkaTlsError, KafkaUnavailableError
from streams.kafka.admin import Admin
from streams.kafka.follower import Follower
from streams.kafka.log_reader import LogReader
from streams.kafka.publisher import Outgoing, Publisher
from streams.kafka.token_provider import TokenProvider, TokenUnavailableError
from streams.letters.topics import dead_letter_topics
from streams.settings import KafkaSettings
from tests.secured.broker import (
    EVERYTHING,
    SecuredKafka,
    secured_kafka,
    write_client_certificate,
)

SETTINGS = TopicsSettings(partitions=1, replication_factor=1)
TOPIC = Topics(SETTINGS).task_events


def unsigned_token(user: str = "tokens", lifetime_s: int = 60) -> str:
    """A token of the kind that a broker takes without an issuer; for tests only."""

    def part(content: dict[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")

    now = int(time.time())
    return f"{part({'alg': 'none'})}.{part({'sub': user, 'iat': now, 'exp': now + lifetime_s})}."


async def awaited_token() -> str:
    return unsigned_token()


def garbled_token() -> str:
    return "not a token"


def failing_token() -> str:
    raise RuntimeError("the issuer is away")


def no_token() -> None:
    return None


NOT_A_FUNCTION = 1
HERE = __name__


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kafka(server_dir: Path) -> AsyncIterator[SecuredKafka]:
    async with secured_kafka(server_dir / "secured") as kafka:
        kafka.add_user()
        for user in ("orch", "client", "tokens"):
            kafka.allow(user, *EVERYTHING)
        async with Admin(kafka.open) as admin:
            await admin.apply(Topics(SETTINGS).table([]), SETTINGS)
        yield kafka


def ways(kafka: SecuredKafka, name: str) -> KafkaSettings:
    if name == "mutual":
        return kafka.mutual()
    if name == "OAUTHBEARER":
        return kafka.token(f"{HERE}:unsigned_token")
    return kafka.login(name)


@pytest.mark.parametrize(
    "way", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "mutual"]
)
async def test_every_client_works(kafka: SecuredKafka, way: str) -> None:
    settings = ways(kafka, way)
    publisher = Publisher(settings, client_id="publisher")
    await publisher.open()
    key = way.encode()
    [offset] = await publisher.publish([Outgoing(topic=TOPIC, partition=0, key=key, value=b"v")])
    await publisher.close()
    async with LogReader(settings, client_id="reader") as reader:
        async for records in reader.read(TOPIC, 0, offset, offset + 1):
            assert [record.key for record in records] == [key]
    async with Follower(settings, client_id="follower") as follower:
        await follower.catch_up([], timeout_s=5)
    async with Admin(settings) as admin:
        assert await admin.partition_counts([TOPIC]) == {TOPIC: 1}
    assert await dead_letter_topics(settings, SETTINGS.prefix)


async def test_a_token_may_be_awaited(kafka: SecuredKafka) -> None:
    async with Admin(kafka.token(f"{HERE}:awaited_token")):
        pass


async def test_a_password_may_be_in_a_file(kafka: SecuredKafka, tmp_path: Path) -> None:
    file = tmp_path / "password"
    settings = kafka.login()
    file.write_text(settings.password + "\n")
    async with Admin(replace(settings, password="", password_file=file)):
        pass
    with pytest.raises(SettingsError, match="absent"):
        Admin(replace(settings, password="", password_file=tmp_path / "absent"))


async def opens(client: str, settings: KafkaSettings) -> None:
    if client == "admin":
        async with Admin(settings):
            return
    if client == "reader":
        async with LogReader(settings, client_id="r"):
            return
    if client == "follower":
        async with Follower(settings, client_id="f"):
            return
    if client == "topics":
        await dead_letter_topics(settings, "")
        return
    publisher = Publisher(settings, client_id="p")
    await publisher.open()
    await publisher.close()


CLIENTS = ("admin", "reader", "follower", "topics", "publisher")


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_wrong_password_is_said(kafka: SecuredKafka, client: str) -> None:
    settings = replace(kafka.login(), password="wrong")
    with pytest.raises(KafkaLoginRefusedError, match="refuses the user 'orch'") as caught:
        await opens(client, settings)
    assert "wrong" not in str(caught.value).replace("wrong user", "")


@pytest.mark.parametrize("client", CLIENTS)
async def test_an_authority_that_did_not_sign_is_said(
    kafka: SecuredKafka, tmp_path: Path, client: str
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    settings = replace(kafka.login(), ca_file=tmp_path / "other.pem")
    with pytest.raises(KafkaTlsError, match="ORCH_KAFKA_CA_FILE"):
        await opens(client, settings)


async def test_a_mechanism_that_the_broker_does_not_offer_is_said(kafka: SecuredKafka) -> None:
    settings = replace(kafka.login(), bootstrap=kafka.bootstraps["TOKEN"])
    with pytest.raises(KafkaLoginRefusedError, match="does not offer"):
        await opens("admin", settings)


async def test_a_missing_certificate_of_ours_is_said(kafka: SecuredKafka) -> None:
    settings = replace(kafka.mutual(), certificate_file=None, key_file=None)
    with pytest.raises(KafkaTlsError, match="ORCH_KAFKA_CERTIFICATE_FILE"):
        await opens("admin", settings)


async def test_a_certificate_of_another_authority_is_said(
    kafka: SecuredKafka, tmp_path: Path
) -> None:
    write_client_certificate(tmp_path, trustme.CA())
    settings = replace(
        kafka.mutual(),
        certificate_file=tmp_path / "client.pem",
        key_file=tmp_path / "client.key",
    )
    with pytest.raises(KafkaTlsError, match="ORCH_KAFKA_CERTIFICATE_FILE"):
        await opens("admin", settings)


def surrogate_token() -> str:
    return "a\udc80"


def bytes_token() -> bytes:
    return b"bytes"


def exiting_token() -> str:
    raise SystemExit(3)


async def cancelled_token() -> str:
    raise ValueError("the issuer said s3cret")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("garbled_token", "refuses? the token"),
        ("failing_token", "raised RuntimeError"),
        ("no_token", "returned no token but a NoneType"),
        ("surrogate_token", "returned no token but other text"),
        ("bytes_token", "returned no token but a bytes"),
        ("exiting_token", "raised SystemExit"),
        ("cancelled_token", "raised ValueError"),
    ],
)
async def test_a_token_that_is_refused_or_missing_is_said(
    kafka: SecuredKafka, function: str, said: str
) -> None:
    with pytest.raises(KafkaUnavailableError, match=said) as caught:
        await opens("admin", kafka.token(f"{HERE}:{function}"))
    assert "s3cret" not in str(caught.value)


HANGS = threading.Event()


def hanging_token() -> str:
    HANGS.wait(60)
    return unsigned_token()


async def test_a_provider_that_hangs_keeps_nothing_else_waiting(kafka: SecuredKafka) -> None:
    provider = TokenProvider(kafka.token(f"{HERE}:hanging_token"))
    # A setting may not be as short.
    provider._timeout_s = 0.05
    for _ in range(8):
        with pytest.raises(TokenUnavailableError, match="did not return"):
            await provider.token()
    with pytest.raises(TokenUnavailableError, match="have not returned yet"):
        await provider.token()
    # The threads of the event loop are free.
    async with asyncio.timeout(5):
        await asyncio.to_thread(time.monotonic)
    HANGS.set()
    async with asyncio.timeout(20):
        while True:
            with suppress(TokenUnavailableError):
                assert await provider.token()
                return


@pytest.mark.parametrize(
    "provider", ["no.such:function", f"{HERE}:absent", f"{HERE}:NOT_A_FUNCTION"]
)
async def test_a_provider_that_does_not_exist_is_said(kafka: SecuredKafka, provider: str) -> None:
    with pytest.raises(SettingsError, match="ORCH_KAFKA_TOKEN_PROVIDER"):
        Admin(kafka.token(provider))


async def test_a_wrong_protocol_is_hinted_at(kafka: SecuredKafka) -> None:
    plain = KafkaSettings(bootstrap=kafka.bootstraps["LOGIN"], request_timeout_s=11)
    with pytest.raises(KafkaUnavailableError, match="ORCH_KAFKA_SECURITY_PROTOCOL"):
        await opens("admin", plain)
    tls = replace(kafka.login(), bootstrap=kafka.open_bootstrap, request_timeout_s=11)
    with pytest.raises(KafkaUnavailableError, match="ORCH_KAFKA_SECURITY_PROTOCOL"):
        await opens("admin", tls)


async def test_a_broker_that_is_away_is_not_a_refusal(kafka: SecuredKafka) -> None:
    settings = replace(kafka.login(), bootstrap="127.0.0.1:1")
    with pytest.raises(KafkaUnavailableError) as caught:
        await opens("admin", settings)
    assert caught.value.code == "KAFKA_UNAVAILABLE"
