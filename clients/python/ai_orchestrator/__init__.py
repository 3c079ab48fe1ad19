"""AI Orchestrator for Python programs: steps as functions, and a client of its service."""

from ai_orchestrator.client.async_client import AsyncClient
from ai_orchestrator.client.errors import (
    AccessError,
    ConflictError,
    FaultError,
    LimitedError,
    NotFoundError,
    OrchestratorError,
    RequestError,
    TaskFailedError,
    UnavailableError,
)
from ai_orchestrator.client.sync_client import Client
from ai_orchestrator.client.views import Chunk, DeadLetter, Event, Item, Lagged, Task, TaskSummary
from ai_orchestrator.steps.call import Call
from ai_orchestrator.steps.declaring import Steps
from ai_orchestrator.steps.failure import Cancelled, Refused, TryAgain
from ai_orchestrator.steps.running import Output
from ai_orchestrator.steps.serving import serve, serving, step

__all__ = [
    "AccessError",
    "AsyncClient",
    "Call",
    "Cancelled",
    "Chunk",
    "Client",
    "ConflictError",
    "DeadLetter",
    "Event",
    "FaultError",
    "Item",
    "Lagged",
    "LimitedError",
    "NotFoundError",
    "OrchestratorError",
    "Output",
    "Refused",
    "RequestError",
    "Steps",
    "Task",
    "TaskFailedError",
    "TaskSummary",
    "TryAgain",
    "UnavailableError",
    "serve",
    "serving",
    "step",
]
