"""A router whose clock is wrong decides nothing, says so once, and goes on when it is right."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import httpx
import pytest

from tests.e2e.one_role import WAIT_S, OneRole
from tests.e2e.test_topics_made_again import ids, some_tasks, waits_for

_ROUTER = """
import sys, time
from pathlib import Path
real, off = time.time_ns, Path(sys.argv[1])
time.time_ns = lambda: real() + int(off.read_text()) * 1_000_000_000
from orchestrator.cli.app import run
sys.argv = ["orchestrator", "worker", "router"]
run()
"""


@pytest.mark.parametrize("off_s", [50 * 60, 2 * 3600, -2 * 3600])
async def test_a_router_with_a_wrong_clock_waits_until_it_is_set_right(
    off_s: int, kafka_bootstrap: str, tmp_path: Path
) -> None:
    router = OneRole("router", kafka_bootstrap, tmp_path)
    await router.make_topics()
    await router.create(tasks := some_tasks())
    clock = tmp_path / "clock"
    clock.write_text(str(off_s))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ORCH_")}
    targets = {"ORCH_METRICS_TARGETS_DIR": str(tmp_path), "ORCH_METRICS_NAME": "router"}
    with router.log_path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _ROUTER,
            str(clock),
            env=environment | router.environment | targets,
            stderr=log,
        )
    try:
        await router.until(lambda: waits_for(router, "CLOCK_DIFFERS"))
        assert await router.created() == []
        metrics, ready = await asked(tmp_path, until="CLOCK_DIFFERS")
        assert abs(metrics - off_s) < 60
        assert "CLOCK_DIFFERS" in ready
        clock.write_text("0")
        await router.until_created(ids(tasks))
    finally:
        process.terminate()
        await process.wait()

    said = [line["reason"] for line in router.lines("waiting")]
    side = "ahead of" if off_s > 0 else "behind"
    assert len(said) == 1
    assert f"{side} the broker's" in said[0]


def _address(folder: Path) -> str:
    [group] = json.loads((folder / "router.json").read_bytes())
    return str(group["targets"][0])


async def asked(folder: Path, until: str) -> tuple[float, str]:
    """The difference that the metric shows, and why the process is not ready, when it says so."""
    ready = ""
    async with httpx.AsyncClient(base_url=f"http://{_address(folder)}", trust_env=False) as http:
        async with asyncio.timeout(WAIT_S):
            while until not in ready:
                ready = (await http.get("/readyz")).text
        metrics = (await http.get("/metrics")).text
    shown = re.search(r"^orchestrator_clock_difference_seconds (\S+)", metrics, re.MULTILINE)
    assert shown is not None
    return float(shown[1]), ready
