"""A real pgbouncer in transaction mode: the machine's own, or Debian's, fetched once a machine.

A machine that cannot fetch it fails the test with a sentence; nothing is skipped.
"""

import asyncio
import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
import trustme

from orchestrator.local.embedded.ports import choose_ports
from orchestrator.local.embedded.postgres_home import choose_account
from orchestrator.local.embedded.process import Child
from orchestrator.local.embedded.settings import EmbeddedSettings

DEBS = ("pgbouncer", "libc-ares2", "libevent-2.1-7")
SESSIONS = 2
"""Sessions that all clients share: far fewer than clients."""
START_S = 20.0


@contextlib.asynccontextmanager
async def a_pgbouncer(
    dsn: str, folder: Path, certificate: trustme.LeafCert | None = None
) -> AsyncIterator[str]:
    """The DSN of a pgbouncer before this database.

    Args:
        dsn: the Postgres behind it.
        folder: of its own, where Postgres' account can go.
        certificate: with it, clients must use TLS.
    """
    program, libraries = _program()
    behind, account = urlsplit(dsn), choose_account()
    port = choose_ports(folder / "ports.json", {"pgbouncer": 0}, {})["pgbouncer"]
    files = {
        "users.txt": f'"{behind.username}" "{behind.password}"\n',
        "pgbouncer.ini": f"""\
[databases]
* = host=127.0.0.1 port={behind.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users.txt
pool_mode = transaction
default_pool_size = {SESSIONS}
max_client_conn = 200
""",
    }
    if certificate is not None:
        files["key.pem"] = certificate.private_key_pem.bytes().decode()
        files["cert.pem"] = certificate.cert_chain_pems[0].bytes().decode()
        files["pgbouncer.ini"] += (
            f"client_tls_sslmode = require\nclient_tls_key_file = {folder}/key.pem\n"
            f"client_tls_cert_file = {folder}/cert.pem\n"
        )
    for name, text in files.items():
        (folder / name).write_text(text)
        if account is not None:
            os.chown(folder / name, account.uid, account.gid)
    child = Child(
        "pgbouncer",
        [program, folder / "pgbouncer.ini"],
        env={**os.environ, **({"LD_LIBRARY_PATH": str(libraries)} if libraries else {})},
        log_path=folder / "pgbouncer.log",
        cwd=folder,
        uid=None if account is None else account.uid,
        gid=None if account is None else account.gid,
    )
    child.start()
    try:
        await _until_it_listens(child, port)
        place = f"{behind.username}:{behind.password}@127.0.0.1:{port}"
        yield urlunsplit(behind._replace(netloc=place))
    finally:
        child.kill()


async def _until_it_listens(child: Child, port: int) -> None:
    try:
        async with asyncio.timeout(START_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    return
    except TimeoutError:
        pytest.fail(f"pgbouncer did not start; its log ends with:\n{child.log_tail()}")


def _program() -> tuple[Path, Path | None]:
    """pgbouncer, and the folder of its libraries if it was fetched."""
    if found := shutil.which("pgbouncer"):
        return Path(found), None
    root = EmbeddedSettings().cache_path / "pgbouncer"
    if not root.is_dir():
        _fetch(root)
    [libraries] = root.glob("usr/lib/*-linux-gnu")
    return _passable(root / "usr/sbin/pgbouncer", libraries)


def _passable(program: Path, libraries: Path) -> tuple[Path, Path]:
    """Copies that Postgres' account can run: the cache may be in a closed home."""
    folder = Path(tempfile.mkdtemp(prefix="orchestrator-pgbouncer-"))
    folder.chmod(0o755)
    shutil.copy(program, folder)
    for library in libraries.glob("*.so*"):
        shutil.copy(library, folder)
    return folder / program.name, folder


def _fetch(root: Path) -> None:
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
        try:
            _run(["apt-get", "download", *DEBS], scratch)
            for package in Path(scratch).glob("*.deb"):
                _run(["dpkg-deb", "-x", str(package), "unpacked"], scratch)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.fail(f"pgbouncer is not installed and Debian's could not be fetched: {error}")
        Path(scratch, "unpacked").rename(root)


def _run(command: list[str], folder: str) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
