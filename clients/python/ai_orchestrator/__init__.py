"""AI Orchestrator for Python programs: steps as functions, and a client of its service."""

from ai_orchestrator.steps.call import Call
from ai_orchestrator.steps.declaring import Steps
from ai_orchestrator.steps.failure import Cancelled, Refused, TryAgain
from ai_orchestrator.steps.running import Output
from ai_orchestrator.steps.serving import serve, serving, step

__all__ = [
    "Call",
    "Cancelled",
    "Output",
    "Refused",
    "Steps",
    "TryAgain",
    "serve",
    "serving",
    "step",
]
