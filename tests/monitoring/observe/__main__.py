"""Runs it, and prints the list; the status is 1 if an expression never returned data."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from pathlib import Path

import structlog

from tests.monitoring.observe.expressions import all_expressions
from tests.monitoring.observe.faults import FAULTS, Fault
from tests.monitoring.observe.report import failures, lines
from tests.monitoring.observe.servers import open_prometheus
from tests.monitoring.observe.sightings import Sightings
from tests.monitoring.observe.site import Site, load, open_servers, open_site, targets_of
from tests.monitoring.observe.uncaused import UNCAUSED
from tests.monitoring.observe.webhook import Webhook, open_webhook

_WIDTH = 80
_EFFECT_S = 60.0
_LOOK_EVERY_S = 1.0
_SETTLE_LOOKS = 4
"""Looks after the effect: rules need a moment, and alerts their time."""
_ALL_TYPES = 'count(count by (type) (orchestrator_tasks_total{status="completed"})) == 5'


async def _main() -> int:
    with tempfile.TemporaryDirectory(prefix="orchestrator-observe-") as directory:
        folder = Path(directory)
        # Postgres' own user enters it.
        await asyncio.to_thread(folder.chmod, 0o711)
        with open_webhook() as webhook:
            async with (
                open_servers(folder) as (kafka, postgres),
                open_prometheus(folder, targets_of(folder), webhook) as prometheus,
            ):
                sightings = Sightings.of(prometheus, all_expressions())
                sightings.during = "no process runs"
                await sightings.look()
                async with open_site(folder, kafka, postgres) as site:
                    return await _observe(site, sightings, webhook)


async def _observe(site: Site, sightings: Sightings, webhook: Webhook) -> int:
    began_s = time.monotonic()
    bad = []
    async with load(site):
        sightings.during = "sound"
        await _until(sightings, _ALL_TYPES)
        for fault in FAULTS:
            if not await _made(site, fault, sightings):
                bad.append(fault.name)
        await _until(sightings, _ALL_TYPES)
    rules = [rule for rule in await sightings.prometheus.rules() if rule["health"] == "err"]
    delivered = webhook.firing()
    for line in lines(sightings.all, UNCAUSED, alerts=delivered):
        print(line)
    print(f"\n{len(sightings.all)} expressions in {time.monotonic() - began_s:.0f} s")
    for rule in rules:
        print(f"A rule fails: {rule['name']}: {rule.get('lastError')}")
    for name in bad:
        print(f"A fault had no effect: {name}")
    missing = failures(sightings.all, UNCAUSED)
    return 1 if missing or rules or bad or not delivered else 0


async def _made(site: Site, fault: Fault, sightings: Sightings) -> bool:
    """Make a fault until it shows; whether it did."""
    print(f"{sightings.elapsed_s:4.0f} s {fault.name}", flush=True)
    sightings.during = fault.name
    shown = False
    try:
        for _ in range(fault.times):
            async with fault.made(site):
                shown = await _until(sightings, fault.shows)
    except Exception as error:  # the other faults are still worth making
        print(f"       {type(error).__name__}: {error}"[:_WIDTH])
        return False
    return shown


async def _until(sightings: Sightings, shows: str) -> bool:
    """Look until an expression returns values other than 0, and a few times more."""
    until_s = time.monotonic() + _EFFECT_S
    while not any(await sightings.prometheus.values(shows)):
        if time.monotonic() > until_s:
            return False
        await sightings.look()
        await asyncio.sleep(_LOOK_EVERY_S)
    for _ in range(_SETTLE_LOOKS):
        await sightings.look()
        await asyncio.sleep(_LOOK_EVERY_S)
    return True


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    raise SystemExit(asyncio.run(_main()))
