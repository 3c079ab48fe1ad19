"""Runs the tools of models: from a declaration to a call of the service behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from agents.services import failure
from agents.services.client import StepClient, StepRequest, StepResponse
from agents.services.failure import ServiceError
from agents.services.models.tools.declaration import ToolDeclaration
from agents.services.models.tools.rules import PlannedCall, key_of
from schemas.records import CommandId, Json

TOOLS_NOT_DECLARED = "a tool calls a service or a method that no pipeline declares for a tool"


class Toolbox:
    """The services that tools may call.

    Args:
        client_of: the client of a service by its name.
        allowed: services and methods that a pipeline file declares for tools. The input of a
            step may come from a caller, who must not choose what is called in our network.
    """

    def __init__(
        self,
        client_of: Callable[[str], StepClient],
        allowed: frozenset[tuple[str, str]],
    ) -> None:
        self._client_of = client_of
        self._allowed = allowed

    def allows(self, tools: list[ToolDeclaration]) -> bool:
        """Whether all tools are those that pipelines declare."""
        return all((tool.service, tool.method) in self._allowed for tool in tools)

    async def run(self, call: PlannedCall, request: StepRequest, *, left_s: float) -> StepResponse:
        """Make a call; the input of the method is the arguments.

        Args:
            call: one with a tool.
            request: that of the step.
            left_s: what is left of the time of the step.

        Raises:
            ServiceError: the call failed.
        """
        tool = call.tool
        assert tool is not None
        if left_s <= 0:
            message = "there was no time left for the tool"
            raise ServiceError(failure.TIMED_OUT, message, service=tool.service)
        of_tool = replace(
            request,
            method=tool.method,
            input=Json(call.called.arguments or "{}"),
            idempotency_key=CommandId(key_of(request.idempotency_key, call)),
            timeout_s=min(left_s, tool.timeout_ms / 1000),
        )
        return await self._client_of(tool.service).call(of_tool)
