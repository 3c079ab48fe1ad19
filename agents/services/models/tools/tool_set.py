"""The tools of one step, and whether a call of a model fits them. Pure."""

from __future__ import annotations

from typing import Any

import msgspec
from jsonschema import exceptions
from jsonschema.protocols import Validator

from agents.services.models.schema import is_valid, validator_of
from agents.services.models.tools.declaration import ToolDeclaration

ARGUMENTS_MAX_CHARS = 16_000
"""Longer arguments of one call are given back to the model unread."""


class ArgumentsError(Exception):
    """The arguments of a call are wrong; the message is for the model."""


class ToolSet:
    """The tools of one step.

    Args:
        tools: as the step declares them.

    Raises:
        PromptError: the arguments of a tool are not described by a JSON Schema.
    """

    def __init__(self, tools: list[ToolDeclaration]) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._validators: dict[str, Validator] = {
            tool.name: validator_of(tool.arguments, what=f"the arguments of {tool.name}")
            for tool in tools
        }

    @property
    def functions(self) -> list[dict[str, Any]]:
        """The tools as OpenAI's API describes them to a model."""
        return [tool.as_function() for tool in self._tools.values()]

    def checked(self, name: str, arguments: str) -> ToolDeclaration:
        """The tool of a call whose arguments satisfy its schema.

        Raises:
            ArgumentsError: no tool has this name, or the arguments are wrong.
            PromptError: the schema has a reference that leads nowhere.
        """
        tool = self._tools.get(name)
        if tool is None:
            raise ArgumentsError(f"there is no such tool; there are: {', '.join(self._tools)}")
        if len(arguments) > ARGUMENTS_MAX_CHARS:
            message = f"the arguments have more than {ARGUMENTS_MAX_CHARS} characters"
            raise ArgumentsError(message)
        try:
            value = msgspec.json.decode(arguments.encode() or b"{}")
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise ArgumentsError("the arguments are not JSON") from None
        if not isinstance(value, dict):
            raise ArgumentsError("the arguments are not a JSON object")
        validator = self._validators[name]
        if not is_valid(validator, value):
            fault = exceptions.best_match(validator.iter_errors(value))
            reason = fault.message[:200] if fault is not None else "they do not fit"
            raise ArgumentsError(f"the arguments do not satisfy the schema: {reason}")
        return tool
