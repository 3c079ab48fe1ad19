"""A step service of ``clients/python``, called by the clients of the workers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agents.services.client import StepClient, StepRequest
from agents.services.directory import Directory
from agents.services.settings import ServicesSettings
from ai_orchestrator import Steps, serving
from schemas.records import CommandId, Json, StepName, TaskId


@asynccontextmanager
async def called(steps: Steps, scheme: str) -> AsyncIterator[StepClient]:
    """Serve the steps over a transport; our client of their service."""
    async with serving(lambda: steps, grpc=scheme == "grpc") as address:
        directory = Directory(ServicesSettings(extra=f"mine={address}"))
        try:
            yield directory.client("mine")
        finally:
            await directory.close()


def a_request(
    method: str, text: str = "{}", *, timeout_s: float = 10.0, key: str = "task_1/1/mine/2"
) -> StepRequest:
    return StepRequest(
        method=method,
        input=Json(text),
        task_id=TaskId("task_1"),
        run=1,
        step=StepName("mine"),
        attempt=2,
        tenant_id="acme",
        conversation_id="c-1",
        idempotency_key=CommandId(key),
        timeout_s=timeout_s,
        trace={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    )
