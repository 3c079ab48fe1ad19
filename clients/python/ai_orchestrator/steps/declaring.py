"""``@step``: which functions are steps, and what each of them takes."""

import inspect
import re
import typing
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeVar

from ai_orchestrator.steps.call import Call

_F = TypeVar("_F", bound=Callable[..., Any])
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class Form(Enum):
    """How a function is run."""

    PLAIN = auto()
    GENERATOR = auto()
    ASYNC = auto()
    ASYNC_GENERATOR = auto()


@dataclass(frozen=True, slots=True)
class Declared:
    """A function that is a step."""

    name: str
    function: Callable[..., Any]
    form: Form
    input_name: str | None
    """The parameter that takes the input; None: the function wants none."""
    input_type: Any
    call_name: str | None
    """The parameter that takes the :class:`Call`."""


class Steps:
    """The steps of one service, by name."""

    def __init__(self) -> None:
        self._declared: dict[str, Declared] = {}

    @property
    def names(self) -> list[str]:
        """The names of the steps, in the order of their declaration."""
        return list(self._declared)

    def get(self, name: str) -> Declared | None:
        """The step of this name."""
        return self._declared.get(name)

    def step(self, name: str) -> Callable[[_F], _F]:
        """Declare a function as the step that a pipeline calls by ``method: name``.

        The function is returned as it was. It has at most one parameter for the input, whose
        annotation says the type, and one that is annotated with :class:`Call`.

        Raises:
            ValueError: the name is taken or not an identifier of at most 64 characters, or the
                function has further parameters without a default.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a name of a step")

        def declare(function: _F) -> _F:
            if name in self._declared:
                raise ValueError(f"there are two steps {name!r}")
            self._declared[name] = _declared(name, function)
            return function

        return declare


def _declared(name: str, function: Callable[..., Any]) -> Declared:
    hints = typing.get_type_hints(function)
    call_name = next((found for found, hint in hints.items() if hint is Call), None)
    others = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name != call_name and parameter.default is parameter.empty
    ]
    if len(others) > 1:
        raise ValueError(f"the step {name!r} takes {others}; it may take one input and a Call")
    input_name = others[0] if others else None
    return Declared(
        name=name,
        function=function,
        form=_form(function),
        input_name=input_name,
        input_type=hints.get(input_name or "", Any),
        call_name=call_name,
    )


def _form(function: Callable[..., Any]) -> Form:
    if inspect.isasyncgenfunction(function):
        return Form.ASYNC_GENERATOR
    if inspect.iscoroutinefunction(function):
        return Form.ASYNC
    return Form.GENERATOR if inspect.isgeneratorfunction(function) else Form.PLAIN
