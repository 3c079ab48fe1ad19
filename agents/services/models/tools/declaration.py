"""The tools of a step, as its pipeline declares them. Pure."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class ToolDeclaration(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A tool: what the model is told of it, and the service and method that run it."""

    name: str
    description: str
    service: str
    method: str
    arguments: dict[str, Any]
    """JSON Schema of the arguments, which become the input of the method."""
    timeout_ms: int
    """For one call; the step's own time bounds it, too."""

    def as_function(self) -> dict[str, Any]:
        """The tool as OpenAI's API describes it to a model."""
        function = {
            "name": self.name,
            "description": self.description,
            "parameters": self.arguments,
        }
        return {"type": "function", "function": function}
