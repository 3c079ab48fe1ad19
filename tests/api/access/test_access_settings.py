"""Keys and the rule for a service without them. No servers."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.api.access.access import Access
from orchestrator.api.access.key_ring import KeyRing
from orchestrator.api.access.keys import Keys, key_hash
from orchestrator.api.errors import ApiError
from orchestrator.api.settings import ApiSettings
from orchestrator.settings import load_settings
from schemas.errors import SettingsError


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.com"])
def test_without_keys_only_a_loopback_address_is_taken(host: str) -> None:
    with pytest.raises(SettingsError, match="ORCH_API_KEYS"):
        load_settings({"ORCH_API_HOST": host})

    assert ApiSettings(host=host, keys=f"acme:{key_hash('k')}").host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_without_keys_a_loopback_address_is_taken(host: str) -> None:
    assert ApiSettings(host=host).host == host


@pytest.mark.parametrize("keys", ["acme", "acme:abc", ":" + "0" * 64, "a b:" + "0" * 64])
def test_keys_that_are_none_stop_the_start_without_being_quoted(keys: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings({"ORCH_API_KEYS": keys})

    assert "pair 1" in str(refused.value)
    assert keys not in str(refused.value)


async def test_the_tenant_comes_from_the_key_alone() -> None:
    keys = Keys.parse(f"acme:{key_hash('one')},other:{key_hash('two')}")
    access = Access(KeyRing(keys), "default")

    assert (await access.caller("Bearer one", transport="http")).tenant_id == "acme"
    assert (await access.caller("two", transport="grpc")).tenant_id == "other"
    for wrong in (None, "", "Bearer", "Bearer  ", "Bearer three", "Basic one", key_hash("one")):
        with pytest.raises(ApiError) as refused:
            await access.caller(wrong, transport="http")
        assert refused.value.code == "UNAUTHENTICATED"


def test_a_settings_text_shows_no_keys() -> None:
    assert key_hash("one") not in repr(ApiSettings(keys=f"acme:{key_hash('one')}"))


async def test_a_new_key_is_printed_once_with_the_hash_to_configure() -> None:
    command = [sys.executable, "-m", "orchestrator", "keys", "new", "acme"]
    shown = await asyncio.to_thread(subprocess.check_output, command, text=True, timeout=60)
    key, pair = (line.split()[-1] for line in shown.splitlines())

    caller = await Access(KeyRing(Keys.parse(pair)), "").caller(f"Bearer {key}", transport="http")
    assert caller.tenant_id == "acme"


@pytest.mark.parametrize(("mask", "noted"), [("022", True), ("077", False)])
def test_a_key_that_goes_into_a_file_of_everybody_is_noted(
    tmp_path: Path, mask: str, noted: bool
) -> None:
    command = f"umask {mask}; {sys.executable} -m orchestrator keys new acme > {tmp_path}/key"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)

    assert ended.stderr.startswith("note: others can read the file") is noted
