"""A real Kafka with TLS, logins and access rules, beside a listener on which everything is allowed.

Its users are made over that open listener: it is the way of whoever sets a cluster up.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from orchestrator.local.embedded.kafka import EmbeddedKafka
from orchestrator.local.embedded.kafka_config import server_properties
from streams.settings import KafkaSettings

PASSWORD = "a secret of this test"
USER = "orch"
_MODULES = "org.apache.kafka.common.security"
LISTENERS = ("LOGIN", "MUTUAL", "TOKEN")
_MECHANISMS = {
    "SCRAM-SHA-256": ScramMechanism.SCRAM_SHA_256,
    "SCRAM-SHA-512": ScramMechanism.SCRAM_SHA_512,
}


@dataclass(frozen=True)
class SecuredKafka:
    """The addresses and the certificates of a running broker, or of a cluster."""

    open_bootstrap: str
    """Of the listener on which everything is allowed."""
    bootstraps: Mapping[str, str]
    """Of the other listeners, by their names."""
    folder: Path

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def open(self) -> KafkaSettings:
        """Everything is allowed here."""
        return KafkaSettings(bootstrap=self.open_bootstrap)

    def login(self, mechanism: str = "SCRAM-SHA-512", user: str = USER) -> KafkaSettings:
        """With a login inside TLS."""
        return KafkaSettings(
            bootstrap=self.bootstraps["LOGIN"],
            security_protocol="SASL_SSL",
            sasl_mechanism=mechanism,
            username=user,
            password=PASSWORD,
            ca_file=self.ca_file,
        )

    def token(self, provider: str) -> KafkaSettings:
        """With a token inside TLS."""
        return KafkaSettings(
            bootstrap=self.bootstraps["TOKEN"],
            security_protocol="SASL_SSL",
            sasl_mechanism="OAUTHBEARER",
            token_provider=provider,
            ca_file=self.ca_file,
        )

    def mutual(self) -> KafkaSettings:
        """With a certificate on both sides."""
        return KafkaSettings(
            bootstrap=self.bootstraps["MUTUAL"],
            security_protocol="SSL",
            ca_file=self.ca_file,
            certificate_file=self.folder / "client.pem",
            key_file=self.folder / "client.key",
        )

    def add_user(self, user: str = USER) -> None:
        """A user with both SCRAM mechanisms; ``PLAIN`` knows ``orch`` alone."""
        admin = self._admin()
        for mechanism in _MECHANISMS.values():
            info = ScramCredentialInfo(mechanism, 4096)
            wanted = UserScramCredentialUpsertion(user, info, PASSWORD.encode())
            for future in admin.alter_user_scram_credentials([wanted]).values():
                future.result(20)

    def allow(self, user: str, *rules: Rule) -> None:
        """Give a user rights."""
        bindings = [
            AclBinding(kind, name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
            for kind, name, pattern, operation in rules
        ]
        # Its client ends with the last reference, and the requests with it.
        admin = self._admin()
        for future in admin.create_acls(bindings).values():
            future.result(20)

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.open_bootstrap})


Rule = tuple[ResourceType, str, ResourcePatternType, AclOperation]

EVERYTHING: Sequence[Rule] = [
    (kind, name, ResourcePatternType.LITERAL, AclOperation.ALL)
    for kind, name in (
        (ResourceType.TOPIC, "*"),
        (ResourceType.GROUP, "*"),
        (ResourceType.BROKER, "kafka-cluster"),
    )
]


@asynccontextmanager
async def secured_kafka(folder: Path) -> AsyncIterator[SecuredKafka]:
    """One broker; it is killed at the end."""
    ports = dict(zip(LISTENERS, free_ports(len(LISTENERS)), strict=True))
    write_certificates(folder)

    def properties(*, port: int, controller_port: int) -> str:
        own = server_properties(port=port, controller_port=controller_port)
        return own + secured_properties(folder, port, controller_port, ports)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orchestrator.local.embedded.kafka.server_properties", properties)
        server = EmbeddedKafka(folder / "server")
        await server.start()
    try:
        addresses = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
        yield SecuredKafka(server.bootstrap, addresses, folder)
    finally:
        await server.kill()


def write_client_certificate(folder: Path, ca: trustme.CA, name: str = "client") -> None:
    """``client.pem`` and ``client.key``, signed by ``ca``."""
    issued = ca.issue_cert("localhost", common_name=name)
    issued.private_key_pem.write_to_path(str(folder / "client.key"))
    (folder / "client.pem").write_bytes(b"".join(p.bytes() for p in issued.cert_chain_pems))


def write_certificates(folder: Path) -> None:
    """An authority, and the certificates of brokers and of one client that it signed."""
    folder.mkdir(parents=True, exist_ok=True)
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    broker = ca.issue_cert(
        "127.0.0.1", "localhost", common_name="broker", key_type=trustme.KeyType.RSA
    )
    (folder / "broker.pem").write_bytes(
        _pkcs8(broker.private_key_pem.bytes()) + b"".join(p.bytes() for p in broker.cert_chain_pems)
    )
    write_client_certificate(folder, ca)


def _pkcs8(pem: bytes) -> bytes:
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )

    key = load_pem_private_key(pem, None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def secured_properties(
    folder: Path, port: int, controller_port: int, ports: Mapping[str, int]
) -> str:
    """What a node needs beyond ``server_properties``; the later line of a name wins."""
    ours = ",".join(f"{name}://127.0.0.1:{number}" for name, number in ports.items())
    settings = {
        "listeners": f"CLIENT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port},{ours}",
        "advertised.listeners": f"CLIENT://127.0.0.1:{port},{ours}",
        "listener.security.protocol.map": (
            "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT,LOGIN:SASL_SSL,MUTUAL:SSL,TOKEN:SASL_SSL"
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:broker",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": folder / "broker.pem",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": folder / "ca.pem",
        "ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/,DEFAULT",
        "listener.name.mutual.ssl.client.auth": "required",
        "listener.name.login.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        "listener.name.login.plain.sasl.jaas.config": (
            f'{_MODULES}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
        ),
        "listener.name.login.scram-sha-256.sasl.jaas.config": (
            f"{_MODULES}.scram.ScramLoginModule required;"
        ),
        "listener.name.login.scram-sha-512.sasl.jaas.config": (
            f"{_MODULES}.scram.ScramLoginModule required;"
        ),
        "listener.name.token.sasl.enabled.mechanisms": "OAUTHBEARER",
        "listener.name.token.oauthbearer.sasl.jaas.config": (
            f"{_MODULES}.oauthbearer.OAuthBearerLoginModule required;"
        ),
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses at this moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
