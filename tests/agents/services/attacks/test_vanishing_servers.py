"""Half-open connections: the server is gone, and nothing says so."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.agents.services.attacks.columns import COLUMNS
from tests.agents.services.attacks.vanishing import BOUND_S

ALONE = ["unshare", "--user", "--map-root-user", "--net"]
"""A network of its own, as an ordinary user."""


def is_allowed() -> bool:
    try:
        return subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not is_allowed(), reason="this machine gives no network of one's own (unshare)")
def test_a_call_whose_server_vanishes_ends_in_its_time() -> None:
    program = [sys.executable, "-m", "tests.agents.services.attacks.vanishing"]
    ended = subprocess.run(
        [*ALONE, *program], capture_output=True, text=True, timeout=120, check=False
    )

    found = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
    assert [one["client"] for one in found] == [column.name for column in COLUMNS], ended.stderr
    for one in found:
        assert one["code"] in ("SERVICE_TIMEOUT", "API_UNAVAILABLE"), one
        assert one["again"], one
        assert BOUND_S <= one["lasted_s"] < BOUND_S + 3.0, one
        assert one["later"] in ("t2", "t3"), one
