"""A service that is a Python function in the worker's own process.

For steps that need no service of their own: ``python://package.module:function``. The
function takes a :class:`~agents.services.client.StepRequest` and returns a
:class:`~agents.services.client.StepResponse`; it must not block the event loop.
"""

import asyncio
import importlib
import inspect
from collections.abc import Awaitable, Callable

from agents.services import failure
from agents.services.client import OnChunk, StepRequest, StepResponse
from agents.services.failure import ServiceError
from schemas.errors import SettingsError

Function = Callable[[StepRequest], StepResponse | Awaitable[StepResponse]]


class InlineStepClient:
    """A :class:`~agents.services.client.StepClient` without a transport.

    Args:
        function: what answers.
        service: the name for errors, as the pipeline knows it.
    """

    def __init__(self, function: Function, *, service: str) -> None:
        self._function = function
        self._service = service

    async def call(self, request: StepRequest, *, on_chunk: OnChunk | None = None) -> StepResponse:
        """Run one attempt, as the protocol promises. ``on_chunk`` is never called.

        What the function raises, but for a :class:`ServiceError` and a cancellation of the
        call, fails the attempt as ``SERVICE_FAILED``, which is retriable.
        """
        del on_chunk
        if request.timeout_s <= 0:
            raise self._error(failure.TIMED_OUT, "there was no time left for the call")
        try:
            answer = self._function(request)
            if inspect.isawaitable(answer):
                async with asyncio.timeout(request.timeout_s):
                    return await answer
        except ServiceError:
            raise
        except TimeoutError as error:
            raise self._error(failure.TIMED_OUT, "the function took too long") from error
        except Exception as error:
            raise self._error(failure.FAILED, f"{type(error).__name__}") from error
        return answer

    async def close(self) -> None:
        """Nothing is open."""

    def _error(self, verdict: failure.Verdict, message: str) -> ServiceError:
        return ServiceError(verdict, f"{self._service}: {message}", service=self._service)


def load_function(target: str) -> Function:
    """Import ``package.module:function``.

    Raises:
        SettingsError: there is no such module or function.
    """
    module, _, name = target.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingsError(f"python://{target}: {error}") from error
    if not callable(function):
        raise SettingsError(f"python://{target} is no function")
    return function  # type: ignore[no-any-return]  # what it takes and gives shows at its first call
