"""``docs/services.md`` tells the truth: its programs run, and its tables are the ones we use."""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agents.services.client import StepClient, StepRequest
from agents.services.directory import Directory
from agents.services.failure import STATUS_VERDICTS, ServiceError, verdict_of_http
from agents.services.settings import ServicesSettings
from orchestrator.configuration.load import process_settings
from orchestrator.settings import Settings
from schemas.records import CommandId, Json, StepName, TaskId, Usage
from tests.agents.services.secured import Files, Heard, a_service

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "services.md").read_text()


@contextlib.asynccontextmanager
async def a_program_of_the_page(folder: Path, scheme: str) -> AsyncIterator[str]:
    """Run the example for a transport, as it stands on the page; the address of its service."""
    programs = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    file = folder / "shout.py"
    file.write_text(programs[("grpc", "http").index(scheme)])
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(file), "0"),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30.0):
            line = (await process.stdout.readline()).decode()
        assert line.startswith("listening on ")
        yield f"{scheme}://127.0.0.1:{int(line.removeprefix('listening on '))}"
    finally:
        process.terminate()
        async with asyncio.timeout(10.0):
            await process.wait()


@contextlib.asynccontextmanager
async def the_service_of_the_page(folder: Path, scheme: str) -> AsyncIterator[StepClient]:
    async with a_program_of_the_page(folder, scheme) as address:
        directory = Directory(ServicesSettings(extra=f"shout={address}"))
        try:
            yield directory.client("shout")
        finally:
            await directory.close()


def a_request(method: str, text: str) -> StepRequest:
    return StepRequest(
        method=method,
        input=Json(text),
        task_id=TaskId("task_1"),
        run=1,
        step=StepName("shout"),
        attempt=1,
        tenant_id="acme",
        idempotency_key=CommandId("task_1/1/shout/1"),
        timeout_s=10.0,
    )


@pytest.mark.parametrize("scheme", ["grpc", "http"])
async def test_the_example_works_as_it_stands_on_the_page(tmp_path: Path, scheme: str) -> None:
    async with the_service_of_the_page(tmp_path, scheme) as client:
        response = await client.call(a_request("Shout", '{"text": "two words"}'))
        with pytest.raises(ServiceError) as refused:
            await client.call(a_request("Shout", "{}"))
        with pytest.raises(ServiceError) as unknown:
            await client.call(a_request("Whisper", "{}"))

    assert response.output == '{"text": "TWO WORDS"}'
    assert response.usage == Usage(model="shout-1", input_tokens=2)
    assert (refused.value.code, refused.value.detail_code) == ("SERVICE_REFUSED", "TEXT_MISSING")
    assert unknown.value.code == "SERVICE_METHOD_UNKNOWN"


def test_the_table_of_statuses_is_the_one_that_is_used() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([A-Z]+) \| ([A-Z_]+) \| (yes|no) \|$", PAGE, re.M)

    assert {row[0]: row[1:] for row in rows} == {
        status.name: (
            verdict.failure_class.value,
            verdict.code,
            "yes" if verdict.failure_class.retriable else "no",
        )
        for status, verdict in STATUS_VERDICTS.items()
    }


def test_the_table_of_http_statuses_is_the_one_that_is_used() -> None:
    rows = re.findall(
        r"^\| ([\d, ]+|any other \dxx|anything else) \| ([A-Z]+) \| ([A-Z_]+) \| (yes|no) \|$",
        PAGE,
        re.M,
    )
    shown = {
        int(status): row[1:]
        for row in rows
        for status in re.findall(r"\d{3}", row[0])  # 4xx and 5xx are not three digits
    }
    others = {row[0]: row[1:] for row in rows if not row[0][0].isdigit()}

    def said(status: int) -> tuple[str, ...]:
        default = {4: "any other 4xx", 5: "any other 5xx"}.get(status // 100, "anything else")
        return tuple(shown.get(status, others[default]))

    for status in range(300, 700):
        verdict = verdict_of_http(status)
        again = "yes" if verdict.failure_class.retriable else "no"

        assert said(status) == (verdict.failure_class.value, verdict.code, again), status


def test_every_code_of_a_reference_service_is_on_the_page() -> None:
    sources = "\n".join(
        path.read_text() for path in sorted((ROOT / "orchestrator" / "local" / "demo").glob("*.py"))
    )
    codes = set(re.findall(r'BadInputError\(\s*"([A-Z_]+)"', sources))

    assert len(codes) > 8
    assert {code for code in codes if f"`{code}`" not in PAGE} == set()


@pytest.mark.parametrize("form", ["yaml", "sh"])
async def test_the_settings_of_the_page_reach_protected_services(tmp_path: Path, form: str) -> None:
    files, poet, critic = Files(tmp_path), Heard(), Heard()
    files.show("worker")
    (tmp_path / "poet").write_text("t0ken\n")
    (tmp_path / "critic").write_text("k3y\n")
    async with (
        a_service("grpcs", poet, files.server(), wants=files.authority) as grpcs,
        a_service("https", critic, files.server()) as https,
    ):
        text = _block_about(form, "grpcs://poet.internal:9443")
        for shown, real in (
            ("grpcs://poet.internal:9443", grpcs),
            ("https://critic.internal/run", https),
            ("/etc/orchestrator/worker.pem", str(files.certificate)),
            ("/etc/orchestrator/worker.key", str(files.key)),
            ("/etc/orchestrator", str(tmp_path)),
            ("/run/secrets", str(tmp_path)),
        ):
            assert shown in text
            text = text.replace(shown, real)
        directory = Directory(_settings(tmp_path, form, text).services)
        directory.check(["poet", "critic"])
        for service in ("poet", "critic"):
            await directory.client(service).call(a_request("Shout", "{}"))
        await directory.close()

    assert (poet.names, poet.tokens) == (["worker"], ["Bearer t0ken"])
    assert (critic.names, critic.headers[0]["x-api-key"]) == ([None], "k3y")
    assert critic.headers[0]["x-team"] == "search"


def _block_about(form: str, text: str) -> str:
    [found] = [b for b in re.findall(rf"```{form}\n(.*?)```", PAGE, re.DOTALL) if text in b]
    return str(found)


def _settings(folder: Path, form: str, text: str) -> Settings:
    if form == "yaml":
        file = folder / "config.yaml"
        file.write_text(text)
        variables = {"ORCH_CONFIG": str(file)}
    else:
        shell = subprocess.run(
            ["sh", "-c", f"set -f; {text}\nenv"], capture_output=True, text=True, check=True
        )
        lines = [line for line in shell.stdout.splitlines() if line.startswith("ORCH_SERVICES_")]
        variables = dict(line.split("=", 1) for line in lines)
    return process_settings(variables)
