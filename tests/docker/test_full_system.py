"""The whole system in containers: every task type, its monitoring, and a restart of everything."""

import asyncio
import json
import random
import re
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from orchestrator.local.dev.demo_tasks import demo_tasks
from schemas.topics import Topics, TopicsSettings
from tests.chaos.load import Load, faults
from tests.chaos.watch import open_watch
from tests.checker.check import check, events_of
from tests.checker.evidence import Evidence
from tests.checker.log import Logged
from tests.checker.reading import read_evidence
from tests.checker.verdict import Verdict
from tests.checker.waiting import ENDS
from tests.docker.engine import require_an_engine
from tests.docker.full_system import PAGE, PREFIX, FullSystem, open_full_system

pytestmark = [
    pytest.mark.docker,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(2400),
]

IN_FLIGHT = 30
"""Tasks that are under way, at least, whenever a container is restarted."""
CALL_S = 2.0
END_S = 240.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def full(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FullSystem]:
    require_an_engine()
    folder = tmp_path_factory.mktemp("full")
    async with open_full_system(folder, json.dumps(faults(CALL_S))) as system:
        yield system


@pytest.mark.parametrize("kind", ["rag", "agent", "chat", "voice", "multimodal"])
async def test_a_task_of_each_type_completes(full: FullSystem, kind: str) -> None:
    [given] = [json.loads(task.input) for task in demo_tasks() if task.type == kind]
    async with full.caller() as client:
        answer = await client.post("/api/v1/tasks:execute", json={"type": kind, "input": given})

    assert answer.status_code == 200, answer.text
    assert answer.json()["task"]["status"] == "completed", answer.text


async def test_prometheus_asks_every_process_under_the_name_of_its_role(full: FullSystem) -> None:
    wanted = {name for name, one in full.services.items() if is_measured(one)}
    async with asyncio.timeout(END_S):
        query = 'up{job="ai-orchestrator"} == 1'
        while len(up := await full.of_prometheus(query)) < len(wanted):  # noqa: ASYNC110
            await asyncio.sleep(1)

    assert {sample["metric"]["role"] for sample in up} == wanted


async def test_the_spans_of_a_task_reach_the_collector(full: FullSystem) -> None:
    trace = secrets.token_hex(16)
    headers = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
    body = {"type": "rag", "input": {"query": "What is a lane?"}}
    async with full.caller() as client:
        await client.post("/api/v1/tasks:execute", json=body, headers=headers)
    async with asyncio.timeout(60):
        while trace not in await spans(full, trace):  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.5)


async def test_nothing_is_lost_when_every_container_restarts_under_load(full: FullSystem) -> None:
    topics = Topics(TopicsSettings(prefix=PREFIX))
    before, took = await full.states(), {}
    async with open_watch(full.bootstrap, {topics.task_events: full.partitions}) as watch:
        seed = random.randrange(10**6)
        load = Load(full.bootstrap, PREFIX, watch, random.Random(seed), in_flight=IN_FLIGHT + 20)
        publishing = asyncio.create_task(load.run(at_least=200))
        for service in await full.running():
            await watch.until(lambda: load.in_flight >= IN_FLIGHT, timeout_s=END_S)
            began = time.monotonic()
            await full.restart(service)
            took[service] = round(time.monotonic() - began, 1)
        load.finish()
        await publishing
        await watch.until(lambda: watch.ended.issuperset(load.ids), timeout_s=END_S)
    after = await full.states()
    evidence, verdict = await settled(full)
    histories = events_of(evidence).histories
    print(f"\nseed {seed}, {len(load.ids)} tasks, {verdict.statistics}\nrestarts in s: {took}")

    assert not verdict.violations, str(verdict)
    lost = [i for i in load.ids if not ended(histories.get(i, []))]
    assert lost == []
    assert {s for s in took if started(before, s) == started(after, s)} == set()


async def test_the_rest_of_the_page_runs_as_it_stands_there(full: FullSystem) -> None:
    [_image, _secrets, _start, execute, commands, more, update, end] = PAGE.shell
    [mine] = re.findall(r"```yaml\n# (\S+)\n(.*?)```", PAGE.text, re.DOTALL)
    (full.folder / mine[0]).write_text(mine[1])

    assert '"completed"' in await full.run(execute)
    assert "orchestrator.task-events.v1" in await full.run(commands)
    await full.run(more)
    await full.ready("router-2")
    await full.run(update)
    await full.run(end)
    assert await full.states() == {}


def is_measured(service: dict[str, Any]) -> bool:
    return "ORCH_METRICS_PORT" in service.get("environment", {}) and service["restart"] != "no"


async def spans(full: FullSystem, trace: str) -> str:
    """What the trace back end, or else the collector, has of a trace."""
    if "jaeger" in full.services:
        url = f"http://127.0.0.1:{full.ports['JAEGER_PORT']}/api/traces/{trace}"
        async with httpx.AsyncClient() as client:
            return (await client.get(url)).text
    return await full.compose("logs", "otel-collector")


async def settled(full: FullSystem) -> tuple[Evidence, Verdict]:
    """The evidence when everything is committed and written, or what is wrong after a minute.

    What is lost, or was done twice, does not come right by waiting.
    """
    until_s = time.monotonic() + 60
    while True:
        evidence = await read_evidence(full.bootstrap, full.dsn, prefix=PREFIX)
        verdict = check(evidence, quiet=True)
        if not verdict.violations or time.monotonic() > until_s:
            return evidence, verdict


def ended(history: list[Logged]) -> bool:
    return bool(history) and history[-1].event["status"] in ENDS


def started(states: dict[str, dict[str, Any]], service: str) -> str:
    return str(states[service]["State"]["StartedAt"])
