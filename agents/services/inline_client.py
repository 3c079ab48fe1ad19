"""A service that is a Python function in the worker's own process.

For steps that do not need a service of their own: ``python://package.module:function``. The
function takes a :class:`~agents.services.client.StepRequest` and returns a
:class:`~agents.services.client.StepResponse`, or an awaitable of one; it must not block the
event loop. A plain function with the annotation ``-> StepResponse`` is called at once, many
commands in a row.
"""

import asyncio
import importlib
import inspect
import typing
from collections.abc import Awaitable, Callable

from agents.services import failure
from agents.services.attempt_clock import CallClock
from agents.services.client import OnChunk, StepRequest, StepResponse
from agents.services.failure import ServiceError
from schemas.errors import SettingsError

Function = Callable[[StepRequest], StepResponse | Awaitable[StepResponse]]


class InlineStepClient:
    """A :class:`~agents.services.client.StepClient` without a transport.

    Args:
        function: is called for each request.
        service: the name for errors, as the pipeline knows it.
    """

    def __init__(self, function: Function, *, service: str) -> None:
        self._function = function
        self._service = service
        self.answers_at_once = _answers_at_once(function)
        """Whether :meth:`call_at_once` may be used."""

    async def call(self, request: StepRequest, *, on_chunk: OnChunk | None = None) -> StepResponse:
        """Run one attempt, as the protocol promises. ``on_chunk`` is never called.

        An exception of the function fails the attempt as ``SERVICE_FAILED``, which is retriable.
        A :class:`ServiceError` and a cancellation of the call pass unchanged.
        """
        del on_chunk
        self._check_time(request)
        try:
            answer = self._function(request)
            if inspect.isawaitable(answer):
                answer = await _in_time(answer, request.timeout_s)
        except ServiceError:
            raise
        except Exception as error:
            raise self._failure(error) from error
        return self._checked(answer)

    def call_at_once(self, request: StepRequest) -> StepResponse:
        """As :meth:`call`, for a function that answers without waiting."""
        self._check_time(request)
        try:
            answer = self._function(request)
        except ServiceError:
            raise
        except Exception as error:
            raise self._failure(error) from error
        return self._checked(answer)

    async def close(self) -> None:
        """Do nothing: no connection is open."""

    def _checked(self, answer: object) -> StepResponse:
        if not isinstance(answer, StepResponse):
            raise self._error(failure.FAILED, f"the function returned {type(answer).__name__}")
        return answer

    def _check_time(self, request: StepRequest) -> None:
        if request.timeout_s <= 0:
            raise self._error(failure.TIMED_OUT, "there was no time left for the call")

    def _failure(self, error: Exception) -> ServiceError:
        if isinstance(error, TimeoutError):
            return self._error(failure.TIMED_OUT, "the function took too long")
        return self._error(failure.FAILED, f"{type(error).__name__}")

    def _error(self, verdict: failure.Verdict, message: str) -> ServiceError:
        return ServiceError(verdict, f"{self._service}: {message}", service=self._service)


async def _in_time(answer: Awaitable[StepResponse], timeout_s: float) -> StepResponse:
    """The answer; if the function takes longer, it is cancelled, and TimeoutError is raised."""
    task = asyncio.ensure_future(answer)
    with CallClock(timeout_s, heard=lambda: int(task.done()), late=task.cancel):
        return await task


def load_function(target: str) -> Function:
    """Import ``package.module:function``.

    Raises:
        SettingsError: the module or function does not exist, or the module cannot be imported.
    """
    module, _, name = target.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except Exception as error:  # the module is a user's, and may raise anything
        raise SettingsError(f"python://{target}: {type(error).__name__}: {error}") from error
    if not callable(function):
        raise SettingsError(f"python://{target} is not a function")
    return function  # type: ignore[no-any-return]  # its signature is checked at its first call


def _answers_at_once(function: Function) -> bool:
    """True for a plain function whose annotation promises the answer itself."""
    if inspect.iscoroutinefunction(function):
        return False
    try:
        return typing.get_type_hints(function).get("return") is StepResponse
    except (NameError, TypeError):
        return False
