"""Every pod of the chart starts as it is rendered, becomes ready, and ends in its grace period."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trustme

from tests.commands import run_command
from tests.deploy.chart import EXTERNAL_KAFKA, PRODUCTION, SMALL, values_of
from tests.deploy.local_pods import READY_S, LocalPod, Secrets, Surroundings
from tests.deploy.rendered import Object, objects, of_kind, pods
from tests.e2e.driving import a_database
from tests.secured.broker import PASSWORD, free_ports, secured_kafka
from tests.secured.system import printed_rules

pytestmark = [pytest.mark.helm, pytest.mark.timeout(400)]


APART = ("combined.enabled=false",)
"""A pod for each role."""


def a_prefix(name: str) -> str:
    """The setting that gives a system topics of its own."""
    return f"config.topics.prefix={name}-{os.urandom(3).hex()}."


def a_key_file(folder: Path) -> tuple[str, str]:
    """The Secret that docs/operations/kubernetes.md makes for the service, and the key in it."""
    folder.mkdir(exist_ok=True)
    file = folder / "keys.jsonl"
    made = run_command(["keys", "new", "acme", "--file", str(file), "-o", "json"], {})
    assert made.status == 0, made.err
    return file.read_text(), str(made.document["key"])


def a_certificate() -> tuple[dict[str, str], str]:
    """A Secret of the type kubernetes.io/tls for 127.0.0.1, and the authority that signed it."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
    secret = {"tls.crt": chain.decode(), "tls.key": issued.private_key_pem.bytes().decode()}
    return secret, authority.cert_pem.bytes().decode()


async def run_jobs(found: tuple[Object, ...], around: Surroundings) -> None:
    """Run the jobs in the order of their hooks; each succeeds."""
    weights = {
        one["metadata"]["name"]: int(one["metadata"]["annotations"]["helm.sh/hook-weight"])
        for one in of_kind(found, "Job")
    }
    jobs = [LocalPod(pod, found, around) for pod in pods(found) if not pod.runs_on]
    for job in sorted(jobs, key=lambda job: weights[job.name]):
        job.process.start()
        await job.ended()


@asynccontextmanager
async def running(*local: LocalPod) -> AsyncIterator[None]:
    """Run pods; all end as pods end."""
    try:
        for one in local:
            one.process.start()
        yield
        await asyncio.gather(*(one.terminated() for one in local))
    finally:
        for one in local:
            one.process.kill()


@asynccontextmanager
async def installed(
    found: tuple[Object, ...], around: Surroundings
) -> AsyncIterator[Mapping[str, LocalPod]]:
    """Run the jobs, then one pod of each template."""
    await run_jobs(found, around)
    local = {pod.role: LocalPod(pod, found, around) for pod in pods(found) if pod.runs_on}
    async with running(*local.values()):
        yield local


async def start_as_rendered(local: Mapping[str, LocalPod]) -> None:
    """Every pod becomes ready, and no probe would restart it."""
    await asyncio.gather(*(one.until("readinessProbe", 200) for one in local.values()))
    for one in local.values():
        for probe in ("startupProbe", "livenessProbe"):
            assert (await one.probe(probe)).status_code == 200


async def test_the_small_system_takes_a_task_and_a_new_key(
    kafka_bootstrap: str, postgres_dsn: str, tmp_path: Path
) -> None:
    keys, key = a_key_file(tmp_path)
    secrets: Secrets = {
        "orchestrator-postgres": {"dsn": await a_database(postgres_dsn)},
        "orchestrator-api": {"keys.jsonl": keys},
    }
    found = objects(SMALL, settings=(a_prefix("small"),))
    around = Surroundings(tmp_path / "pods", kafka_bootstrap, secrets)
    async with installed(found, around) as local:
        await start_as_rendered(local)
        url = f"http://{local['serve'].address('http')}"
        answer = await created(url, key)

        assert answer.status_code == 201, answer.text
        others, other_key = a_key_file(tmp_path / "others")
        local["serve"].replace_files("/run/secrets/api", {"keys.jsonl": others})
        async with asyncio.timeout(READY_S):
            while (await created(url, other_key)).status_code != 201:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert (await created(url, key)).status_code == 401


async def created(url: str, key: str, authority: str | None = None) -> httpx.Response:
    """What the service answers to a task; it has a certificate of this authority, if any."""
    trusted = ssl.create_default_context(cadata=authority)
    async with httpx.AsyncClient(trust_env=False, verify=trusted) as client:
        task = {"type": "rag", "input": {"query": "What is a lane?"}}
        headers = {"authorization": f"Bearer {key}"}
        return await client.post(f"{url}/api/v1/tasks", json=task, headers=headers)


async def test_the_production_system_starts_with_tls_up_to_the_pods(
    kafka_bootstrap: str, postgres_dsn: str, tmp_path: Path
) -> None:
    keys, key = a_key_file(tmp_path)
    dsn = await a_database(postgres_dsn)
    certificate, authority = a_certificate()
    secrets: Secrets = {
        "orchestrator-postgres": {"dsn": dsn, "reader-dsn": dsn, "ca.crt": authority},
        "orchestrator-postgres-owner": {"dsn": dsn, "ca.crt": authority},
        "orchestrator-api": {"keys.jsonl": keys},
        "orchestrator-api-tls": certificate,
        "orchestrator-services": {"ca.crt": authority},
    }
    found = objects(PRODUCTION, settings=(a_prefix("production"),))
    around = Surroundings(tmp_path / "pods", kafka_bootstrap, secrets)
    async with installed(found, around) as local:
        await start_as_rendered(local)
        url = f"https://{local['serve'].address('http')}"
        answer = await created(url, key, authority)

        assert answer.status_code == 201, answer.text


async def test_a_system_with_an_external_kafka_starts_with_an_account_for_each_role(
    server_dir: Path, postgres_dsn: str, tmp_path: Path
) -> None:
    keys, _ = a_key_file(tmp_path)
    found = objects(EXTERNAL_KAFKA)
    accounts = {
        v["secret"]["secretName"]
        for pod in pods(found)
        for v in pod.spec["volumes"]
        if v["name"] == "kafka"
    }
    async with secured_kafka(server_dir / "external") as kafka:
        for pod in pods(found):
            for variable in pod.container["env"]:
                if variable["name"] == "ORCH_KAFKA_USERNAME":
                    kafka.add_user(variable["value"])
                    kafka.allow(variable["value"], *printed_rules(variable["value"]))
        login = {"password": PASSWORD, "ca.crt": kafka.ca_file.read_text()}
        secrets: Secrets = {
            "orchestrator-postgres": {"dsn": await a_database(postgres_dsn)},
            "orchestrator-api": {"keys.jsonl": keys},
            **dict.fromkeys(accounts, login),
        }
        around = Surroundings(tmp_path / "pods", kafka.bootstraps["LOGIN"], secrets)
        async with installed(found, around) as local:
            await start_as_rendered(local)


@pytest.mark.parametrize("role", ["all", "router", "sink", "step.retrieve", "serve"])
async def test_a_pod_that_waits_for_kafka_is_not_ready_and_is_not_restarted(
    role: str, postgres_dsn: str, tmp_path: Path
) -> None:
    keys, _ = a_key_file(tmp_path)
    secrets: Secrets = {
        "orchestrator-postgres": {"dsn": await a_database(postgres_dsn)},
        "orchestrator-api": {"keys.jsonl": keys},
    }
    found = objects(SMALL, settings=() if role == "all" else APART)
    around = Surroundings(tmp_path / "pods", f"127.0.0.1:{free_ports(1)[0]}", secrets)
    [waiting] = [LocalPod(pod, found, around) for pod in pods(found) if pod.role == role]
    waiting.process.start()
    try:
        await waiting.until("startupProbe", 200)
        said = await waiting.until("readinessProbe", 503)

        assert all(part.endswith("start") for part in said.json()["parts"])
        assert (await waiting.probe("livenessProbe")).status_code == 200
        assert waiting.process.returncode is None
    finally:
        await waiting.process.stop(waiting.pod.spec["terminationGracePeriodSeconds"])


async def test_a_pod_that_is_replaced_gets_its_partitions_back_and_disturbs_nobody(
    kafka_bootstrap: str, postgres_dsn: str, tmp_path: Path
) -> None:
    secrets: Secrets = {"orchestrator-postgres": {"dsn": await a_database(postgres_dsn)}}
    found = objects(SMALL, settings=(*APART, a_prefix("members"), "router.replicas=2"))
    around = Surroundings(tmp_path / "pods", kafka_bootstrap, secrets)
    await run_jobs(found, around)
    [router] = [pod for pod in pods(found) if pod.role == "router"]
    first, second = (LocalPod(router, found, around, number) for number in range(2))
    async with running(first, second):
        await asyncio.gather(*(one.until("readinessProbe", 200) for one in (first, second)))
        partitions = list(range(values_of(SMALL)["config"]["topics"]["partitions"]))
        await until(lambda: sorted([*first.assigned()[-1], *second.assigned()[-1]]) == partitions)
        before, others = first.assigned(), second.assigned()
        await first.terminated()
        first.process.start()
        await until(lambda: len(first.assigned()) > len(before))
        await first.until("readinessProbe", 200)

        assert first.assigned() == [*before, before[-1]]
        assert second.assigned() == others


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(READY_S):
        while not holds():  # noqa: ASYNC110  # what other processes have written
            await asyncio.sleep(0.1)
