"""A fake issuer on this machine: its documents over HTTP, and tokens signed by its keys."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

AUDIENCE = "orchestrator"


@cache
def _rsa_key() -> rsa.RSAPrivateKey:
    """One for all issuers: to make one takes a twentieth of a second."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Issuer:
    """Its keys by id, with their algorithms."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[str] = []
        self.keys: dict[str, tuple[str, Any]] = {
            "rsa-1": ("RS256", _rsa_key()),
            "ec-1": ("ES256", ec.generate_private_key(ec.SECP256R1())),
        }
        self.answers: dict[str, bytes] = {}
        """By path, in place of what it would answer."""
        self.delay_s = 0.0

    def jwks(self) -> dict[str, Any]:
        found = []
        for kid, (algorithm, key) in self.keys.items():
            kind: Any = RSAAlgorithm if algorithm.startswith("RS") else ECAlgorithm
            data = json.loads(kind.to_jwk(key.public_key()))
            found.append({**data, "kid": kid, "use": "sig", "alg": algorithm})
        return {"keys": found}

    def token(
        self,
        kid: str | None = "rsa-1",
        *,
        key: PrivateKeyTypes | str | None = None,
        algorithm: str = "",
        ends_in_s: float = 600,
        **changes: Any,
    ) -> str:
        """A token for ``acme``; a claim that is None is left out."""
        now = time.time()
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "someone",
            "iat": int(now),
            "exp": now + ends_in_s,
            "tenant": "acme",
            "scope": "read write",
        } | changes
        claims = {name: value for name, value in claims.items() if value is not None}
        known = self.keys.get(kid or "rsa-1", ("RS256", None))
        headers = {} if kid is None else {"kid": kid}
        signing: Any = known[1] if key is None else key
        return jwt.encode(claims, signing, algorithm or known[0], headers=headers)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split()[1]
            self.asked.append(path)
            await asyncio.sleep(self.delay_s)
            documents = {
                "/.well-known/openid-configuration": {
                    "issuer": self.url,
                    "jwks_uri": f"{self.url}/keys",
                },
                "/keys": self.jwks(),
            }
            body = self.answers.get(path, json.dumps(documents.get(path)).encode())
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n")
            writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
        writer.close()

    @asynccontextmanager
    async def running(self, port: int = 0) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield
        finally:
            server.close()
            await server.wait_closed()
