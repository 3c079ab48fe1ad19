"""Keys with a life: the file, the command, and what is logged. No servers."""

import json
import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.access.access import Access
from orchestrator.api.access.key_file import KeyLine, parse_keys
from orchestrator.api.access.key_ring import KeyRing
from orchestrator.api.access.key_store import add_key, read_key_file, revoke_key
from orchestrator.api.access.keys import Keys, key_hash
from orchestrator.api.access.rights import READ, WRITE, Right
from orchestrator.api.errors import ApiError
from orchestrator.api.server import ring_of
from orchestrator.api.settings import ApiSettings
from schemas.errors import SettingsError
from schemas.records import Millis
from streams.watched_file import WatchedFile
from tests.api.snippets import Page
from tests.logged import logged

HASH = key_hash("one")
NOW = Millis(1_700_000_000_000)


def a_line(**changes: Any) -> str:
    given = {"id": "one", "tenant": "acme", "scopes": ["read"], "hash": HASH} | changes
    return json.dumps({name: value for name, value in given.items() if value is not None})


def access_of(text: str, tmp_path: Path, fixed: str = "") -> tuple[Access, Path]:
    path = tmp_path / "keys.jsonl"
    path.write_text(text, "utf-8")
    ring = KeyRing(Keys.parse(fixed), WatchedFile(path, parse_keys), lambda: NOW)
    return Access(ring, "default", clock=lambda: NOW), path


async def code_of(access: Access, key: str | None = "one") -> str | None:
    try:
        await access.admit(key, READ, transport="http")
    except ApiError as error:
        return error.code
    return None


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "line 3"),
        ("[]", "line 3"),
        (a_line(tenant=None), "tenant"),
        (a_line(owner="me"), "unknown field"),
        (a_line(scopes=[]), "scopes is empty"),
        (a_line(scopes=["all"]), "line 3"),
        (a_line(scopes=["operate"]), "tenant must be"),
        (a_line(tenant="a b"), "tenant is neither"),
        (a_line(id=""), "id does not match"),
        (a_line(hash=HASH.upper()), "hash is not"),
        (a_line(expires_at="tomorrow"), "expires_at"),
        (a_line(expires_at="2026-01-01T00:00:00"), "without a zone"),
        (a_line(id="again"), "an earlier line has"),
        (a_line(hash=key_hash("two")), "an earlier line has"),
    ],
)
def test_a_wrong_line_stops_the_start_with_its_number_and_without_the_hash(
    tmp_path: Path, line: str, told: str
) -> None:
    path = tmp_path / "keys.jsonl"
    path.write_text(f"# ours\n{a_line()}\n{line}\n", "utf-8")
    with pytest.raises(SettingsError) as refused:
        ring_of(ApiSettings(keys_file=path))

    assert f"{path}: line 3" in str(refused.value)
    assert told in str(refused.value)
    assert HASH not in str(refused.value).lower()


def test_a_file_that_is_missing_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"ORCH_API_KEYS_FILE: .*/none: No such file"):
        ring_of(ApiSettings(keys_file=tmp_path / "none"))


@given(st.binary(max_size=300))
def test_any_file_is_read_or_refused_with_a_line(contents: bytes) -> None:
    told = "line "
    try:
        parse_keys(contents)
    except ValueError as error:
        told = str(error)

    assert told.startswith("line ")


async def test_an_empty_file_lets_nobody_in(tmp_path: Path) -> None:
    access, path = access_of("", tmp_path)

    assert await code_of(access) == "UNAUTHENTICATED"
    assert await code_of(access, None) == "UNAUTHENTICATED"
    assert ApiSettings(host="0.0.0.0", keys_file=path).protected


async def test_a_key_that_is_added_revoked_or_removed_counts_at_once(tmp_path: Path) -> None:
    access, path = access_of("", tmp_path)
    seen = [await code_of(access)]
    for text in (a_line(), a_line(revoked_at="2020-01-01T00:00:00Z"), a_line(), ""):
        path.write_text(text, "utf-8")
        seen.append(await code_of(access))

    assert seen == ["UNAUTHENTICATED", None, "KEY_REVOKED", None, "UNAUTHENTICATED"]


async def test_a_file_that_goes_wrong_keeps_its_last_keys(tmp_path: Path) -> None:
    access, path = access_of(a_line(), tmp_path)
    path.write_text(a_line()[:-5], "utf-8")

    assert await code_of(access) is None


async def test_a_key_ends_with_its_time(tmp_path: Path) -> None:
    soon = datetime.fromtimestamp((NOW + 1) / 1000, UTC).isoformat()
    now = datetime.fromtimestamp(NOW / 1000, UTC).isoformat()

    assert await code_of(access_of(a_line(expires_at=soon), tmp_path)[0]) is None
    assert await code_of(access_of(a_line(expires_at=now), tmp_path)[0]) == "KEY_EXPIRED"


async def test_a_key_of_the_environment_is_valid_beside_the_file_and_revoked_by_it(
    tmp_path: Path,
) -> None:
    access, path = access_of("", tmp_path, fixed=f"acme:{HASH}")
    before = await access.caller("one", transport="http")
    path.write_text(a_line(revoked_at="2020-01-01T00:00:00Z"), "utf-8")

    assert before.scopes == {Right.READ, Right.WRITE}
    assert before.actor == f"api/http/{HASH[:8]}"
    assert await code_of(access) == "KEY_REVOKED"


async def test_a_stream_ends_when_its_key_has_fewer_rights_or_another_tenant(
    tmp_path: Path,
) -> None:
    both = ["read", "write"]
    access, path = access_of(a_line(scopes=both), tmp_path)
    caller = await access.caller("one", transport="http")
    ends = []
    for changes in ({"scopes": both}, {"scopes": ["read"]}, {"scopes": both, "tenant": "other"}):
        path.write_text(a_line(**changes), "utf-8")
        ended = access.ended(caller)
        ends.append(ended and ended.code)

    assert ends == [None, "KEY_REVOKED", "KEY_REVOKED"]


async def test_use_is_logged_once_an_hour_and_no_line_holds_a_key(tmp_path: Path) -> None:
    access, _ = access_of(a_line(), tmp_path)
    with logged(
        "orchestrator.api.access.access.log", "orchestrator.api.access.refusal_log.log"
    ) as lines:
        for _ in range(20):
            await code_of(access)
            await code_of(access, "orch_guessed")
        with pytest.raises(ApiError, match="scope write"):
            await access.admit("one", WRITE, transport="grpc")

    assert [(line["event"], line.get("code"), line["key"]) for line in lines] == [
        ("key_used", None, "one"),
        ("call_refused", "UNAUTHENTICATED", ""),
        ("call_refused", "SCOPE_MISSING", "one"),
    ]
    assert "orch_guessed" not in str(lines)
    assert HASH not in str(lines)


def keys_command(*arguments: str, status: int = 0) -> str:
    ended = subprocess.run(
        [sys.executable, "-m", "orchestrator", "keys", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == status, ended.stderr
    # A usage error is in a box, whose lines are wrapped.
    return ended.stdout if status == 0 else " ".join(ended.stderr.replace("│", " ").split())


async def test_a_key_is_made_listed_and_revoked_by_command(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    file = ("--file", str(path))
    made = json.loads(keys_command("new", "acme", *file, "--expires", "90d", "-o", "json"))
    keys_command("new", "*", *file, "--scope", "operate", "--id", "people")
    path.write_text("# for people\n" + path.read_text("utf-8"), "utf-8")
    path.chmod(0o644)
    access = Access(KeyRing(Keys({}), WatchedFile(path, parse_keys)), "default")
    before = await code_of(access, made["key"])
    revoked = keys_command("revoke", made["id"], *file)
    again = keys_command("revoke", made["id"], *file)
    listed = [json.loads(line) for line in keys_command("list", *file, "-o", "json").splitlines()]
    table = keys_command("list", *file)

    assert (before, await code_of(access, made["key"])) == (None, "KEY_REVOKED")
    assert (revoked, again) == (f"{made['id']} revoked\n", f"{made['id']} was revoked before\n")
    assert [(k["id"], k["tenant"], k["scopes"], k["state"]) for k in listed] == [
        (made["id"], "acme", ["read", "write"], "revoked"),
        ("people", "*", ["operate"], "valid"),
    ]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text("utf-8").startswith("# for people\n")
    for shown in (table, str(listed)):
        assert key_hash(made["key"]) not in shown
        assert made["key"] not in shown
    assert made["key"] not in path.read_text("utf-8")


def test_the_commands_of_the_page_run_as_they_stand_there(tmp_path: Path) -> None:
    [script] = Page("docs/security.md", "Callers and keys").shell
    for line in script.splitlines():
        program, *arguments = shlex.split(line)
        command = [sys.executable, "-m", program, *arguments]
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        shown = subprocess.check_output(command, cwd=tmp_path, env=variables, timeout=60)
        assert shown
    keys = parse_keys((tmp_path / "keys.jsonl").read_bytes()).by_hash.values()

    assert [(key.tenant, key.revoked_at is None) for key in keys] == [("acme", True), ("*", False)]


def test_wrong_keys_are_refused_by_command(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    file = ("--file", str(path))

    assert "tenant must be" in keys_command("new", "acme", *file, "--scope", "operate", status=2)
    assert "need --file" in keys_command("new", "acme", "--expires", "1d", status=2)
    assert not path.exists()
    path.write_text("", "utf-8")
    assert "error KEY_UNKNOWN" in keys_command("revoke", "nobody", *file, status=1)


def test_commands_at_the_same_time_lose_no_key(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"

    def work(number: int) -> None:
        line = KeyLine(
            id=f"k{number}", tenant="acme", scopes=[Right.READ], hash=key_hash(str(number))
        )
        add_key(path, line)
        revoke_key(path, line.id, datetime.now(UTC))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))

    assert sorted(line.id for line in read_key_file(path)) == sorted(f"k{n}" for n in range(40))
    assert all(key.revoked_at for key in parse_keys(path.read_bytes()).by_hash.values())
