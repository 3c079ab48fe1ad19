"""The method ``Chat`` with tools: asks, runs what the model calls, asks again, within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from agents.services.client import StepRequest, StepResponse
from agents.services.failure import ServiceError
from agents.services.models import refusals
from agents.services.models.answer import GrowingAnswer
from agents.services.models.api import ModelApi
from agents.services.models.chat import ChatCall
from agents.services.models.exchange import ModelExchange
from agents.services.models.prompt import PromptError
from agents.services.models.tools import substeps
from agents.services.models.tools.loop_steps import LoopSteps
from agents.services.models.tools.rules import (
    Finished,
    PlannedCall,
    RunTools,
    asked_message,
    next_move,
    result_message,
)
from agents.services.models.tools.tool_set import ToolSet
from agents.services.models.tools.toolbox import TOOLS_NOT_DECLARED, Toolbox
from schemas.records import Millis

Turn = tuple[GrowingAnswer, ModelExchange]
AskFirst = Callable[["ModelTurn"], Awaitable[Turn]]
"""Asks the models in their order; returns the answer of the first one that has one."""


class ModelTurn:
    """One iteration: the conversation so far, which each model may be asked about."""

    def __init__(
        self, chat: ChatCall, messages: list[dict[str, Any]], tools: ToolSet, steps: LoopSteps
    ) -> None:
        self._chat = chat
        self._messages = messages
        self._tools = tools
        self._steps = steps
        chat.passed_on = False

    @property
    def passed_on(self) -> bool:
        """Whether a piece of this iteration's answer was shown."""
        return self._chat.passed_on

    async def ask(self, model: str) -> Turn:
        """Ask one model; a call that fails becomes a substep."""
        functions = self._tools.functions
        return await self._chat.turn(model, self._messages, functions, self._steps.add)


class ToolLoop:
    """One attempt of a step that declares tools.

    Args:
        api: the server of the model.
        chat: the prompt, with the tools.
        request: of the step.
        toolbox: runs the tools.
        clock: Unix time in milliseconds, for the times of the substeps.

    Raises:
        PromptError: a tool is not one that a pipeline declares, or its schema is wrong.
    """

    def __init__(
        self,
        api: ModelApi,
        chat: ChatCall,
        request: StepRequest,
        *,
        toolbox: Toolbox,
        clock: Callable[[], Millis],
    ) -> None:
        given = chat.given
        if not toolbox.allows(given.tools):
            raise PromptError(TOOLS_NOT_DECLARED)
        self._api = api
        self._chat = chat
        self._tools = ToolSet(given.tools)
        self._max_iterations = given.max_iterations
        self._toolbox = toolbox
        self._on_spent = request.on_spent
        self._steps = LoopSteps()
        self._request = replace(request, on_spent=self._steps.add)
        self._clock = clock
        self._ends_at_s = asyncio.get_running_loop().time() + request.timeout_s
        self._messages = list(chat.messages)
        self._calls = 0

    async def run(self, ask_first: AskFirst) -> StepResponse:
        """Go on until the model answers.

        An attempt that ends without an answer, also by a cancel, gives ``request.on_spent`` all
        that was done until then.

        Raises:
            ServiceError: the model failed; or a tool failed for a reason that may pass: another
                attempt may do better; or ``MODEL_ITERATIONS_EXCEEDED``.
            PromptError: a schema has a reference that leads nowhere.
        """
        try:
            for iteration in range(1, self._max_iterations + 1):
                response = await self._iterate(iteration, ask_first)
                if response is not None:
                    return response
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, ServiceError) and self._messages != self._chat.messages:
                # A tool may have run: another instance must not begin from the start.
                error.called = True
            self._report_spent()
            raise
        raise AssertionError("the last iteration ends the loop")

    def _report_spent(self) -> None:
        if self._on_spent is not None:
            for substep in self._steps.substeps:
                self._on_spent(substep)

    async def _iterate(self, iteration: int, ask_first: AskFirst) -> StepResponse | None:
        began = self._clock()
        turn = ModelTurn(self._chat, self._messages, self._tools, self._steps)
        answer, exchange = await ask_first(turn)
        called = answer.calls
        self._steps.add(substeps.iteration(exchange, answer.text, called, began, self._clock()))
        move = next_move(
            called,
            self._tools,
            iteration=iteration,
            max_iterations=self._max_iterations,
            calls_before=self._calls,
        )
        match move:
            case Finished():
                return StepResponse(
                    output=self._chat.output(exchange.model, answer),
                    usage=self._steps.usage(exchange.model),
                    substeps=self._steps.substeps,
                )
            case RunTools(calls):
                await self._run_all(answer.text, calls)
                return None
        message = f"the model still calls tools in iteration {iteration}, the last one"
        raise self._api.error(refusals.ITERATIONS_EXCEEDED, message)

    async def _run_all(self, text: str, calls: tuple[PlannedCall, ...]) -> None:
        """Run the calls of one answer in their order, and note what the model is told."""
        self._messages.append(asked_message(text, calls))
        for call in calls:
            self._calls += 1
            self._messages.append(result_message(call, await self._result(call)))

    async def _result(self, call: PlannedCall) -> str:
        """What the model is told; a failure that may pass is raised, and ends the attempt."""
        began = self._clock()
        if call.tool is None:
            self._steps.add(substeps.refused_call(call, began))
            return f"error: {call.refusal}"
        left_s = self._ends_at_s - asyncio.get_running_loop().time()
        try:
            response = await self._toolbox.run(call, self._request, left_s=left_s)
        except ServiceError as error:
            failed = substeps.failed_call(call, error.as_record(), began, self._clock())
            self._steps.add(failed)
            if error.retriable:
                raise
            return f"error: {error.code}: {error.message}"
        self._steps.add(substeps.run_call(call, response, began, self._clock()))
        return response.output
