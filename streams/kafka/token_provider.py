"""Asks the installation's function for the token of a connection (``OAUTHBEARER``)."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import threading
from collections import Counter
from typing import Any

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError

from schemas.errors import SettingsError
from streams.settings import KafkaSettings

_AT_ONCE = 8
"""Calls of one function that have not returned. One that hangs must not take a thread each time."""

_running: Counter[str] = Counter()


class TokenUnavailableError(KafkaConnectionError):  # type: ignore[misc]
    """The function raised, hangs, or returned what is not a token; no login was tried."""


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]
    """Calls the function once for each connection, within ``request_timeout_s``.

    A function that is not a coroutine is called in a thread of its own, which ends with the
    process: one that hangs keeps neither other work nor the end of the process waiting.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        """Find the function.

        Raises:
            SettingsError: it cannot be imported, or is not a function.
        """
        module_name, _, name = kafka.token_provider.partition(":")
        self._name = kafka.token_provider
        self._timeout_s = kafka.request_timeout_s
        try:
            self._function = getattr(importlib.import_module(module_name), name)
        except (ImportError, AttributeError) as error:
            raise SettingsError(f"ORCH_KAFKA_TOKEN_PROVIDER: {self._name}: {error}") from error
        if not callable(self._function):
            raise SettingsError(f"ORCH_KAFKA_TOKEN_PROVIDER: {self._name} is not a function")

    async def token(self) -> str:
        """The token for a new connection.

        Raises:
            TokenUnavailableError: aiokafka goes on to the next broker, and the caller tries again.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                return self._checked(await self._called())
        except TimeoutError:
            message = f"the token provider {self._name} did not return in {self._timeout_s:g} s"
            raise TokenUnavailableError(message) from None

    async def _called(self) -> Any:
        try:
            if inspect.iscoroutinefunction(self._function):
                return await self._function()
            found = await self._in_a_thread()
            return await found if inspect.isawaitable(found) else found
        except (TimeoutError, TokenUnavailableError):
            raise
        except Exception as error:
            raise self._raised(error) from error

    async def _in_a_thread(self) -> Any:
        if _running[self._name] >= _AT_ONCE:
            message = f"{_AT_ONCE} calls of the token provider {self._name} have not returned yet"
            raise TokenUnavailableError(message)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()
        _running[self._name] += 1
        arguments = (loop, done)
        threading.Thread(target=self._run, args=arguments, name="token", daemon=True).start()
        value, error = await done
        if error is not None:
            raise self._raised(error) from error
        return value

    def _run(
        self,
        loop: asyncio.AbstractEventLoop,
        done: asyncio.Future[tuple[Any, BaseException | None]],
    ) -> None:
        value: Any = None
        raised: BaseException | None = None
        try:
            value = self._function()
        except BaseException as error:  # the caller's thread has to hear of it, whatever it is
            raised = error
        _running[self._name] -= 1

        def settle() -> None:
            if not done.done():
                done.set_result((value, raised))

        if not loop.is_closed():
            loop.call_soon_threadsafe(settle)

    def _raised(self, error: BaseException) -> TokenUnavailableError:
        # Not its text: it may hold what the function sent to its issuer.
        return TokenUnavailableError(
            f"the token provider {self._name} raised {type(error).__name__}"
        )

    def _checked(self, token: Any) -> str:
        if isinstance(token, str) and token and token.isascii() and token.isprintable():
            return token
        message = f"the token provider {self._name} returned no token but a {type(token).__name__}"
        if isinstance(token, str):
            message = f"the token provider {self._name} returned no token but other text"
        raise TokenUnavailableError(message)
