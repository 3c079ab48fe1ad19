"""The client for asyncio programs: the same calls as the blocking one."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from ai_orchestrator.client import questions
from ai_orchestrator.client.attempts import Attempts, Replicas
from ai_orchestrator.client.errors import OrchestratorError, UnavailableError, refusal_of
from ai_orchestrator.client.questions import Question
from ai_orchestrator.client.transport import (
    NOT_KEPT,
    SILENCE_S,
    AnswerBody,
    headers_of,
    late,
    stream_timeout,
    timeout_of,
    unreachable,
    urls_of,
)
from ai_orchestrator.client.views import DeadLetter, Item, LetterDetail, Replayed, Task, TaskSummary
from ai_orchestrator.client.watching import Watching

T = TypeVar("T")
_now = time.monotonic


class AsyncClient:
    """Calls the service over HTTP, from one event loop.

    ``async with AsyncClient("http://a:8000", key="orch_…") as client:``. ``Client`` has the same
    methods, and says what each of them and each argument is; lists and streams are read here by
    ``async for``. A cancelled call is closed, and may still be done by the service.
    """

    def __init__(
        self,
        *urls: str,
        key: str | None = None,
        tenant: str | None = None,
        timeout_s: float = 30.0,
        retry_s: float = 30.0,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._replicas = Replicas(urls_of(urls))
        self._headers = headers_of(key, tenant)
        self._timeout_s = timeout_s
        self._retry_s = retry_s
        self._own = http is None
        self._http = http or httpx.AsyncClient(limits=NOT_KEPT)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._own:
            await self._http.aclose()

    async def create(
        self,
        type: str,
        input: Any = None,
        *,
        key: str | None = None,
        conversation_id: str | None = None,
        user_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        priority: int = 5,
        hold: bool = False,
        timeout_s: float | None = None,
    ) -> Task:
        """Create a task; return when the broker has it.

        Args:
            type: the name of a pipeline.
            input: a JSON object: a dict, a dataclass or a msgspec ``Struct``.
            key: the idempotency key: with the same key it is the same task. None: a new one.
            conversation_id: the conversation that it belongs to.
            user_id: for whom it is done.
            metadata: a JSON object that is kept with it.
            priority: 0 to 10; 10 is the most urgent.
            hold: wait for an execute.
            timeout_s: the task fails if it has not ended after this time, in seconds.

        Raises:
            OrchestratorError: with ``key``, by which the call may be repeated.
        """
        asked = questions.create(
            type,
            input,
            key=key,
            conversation_id=conversation_id,
            user_id=user_id,
            metadata=metadata,
            priority=priority,
            hold=hold,
            timeout_s=timeout_s,
        )
        return (await self._ask(asked)).task

    async def get(self, task_id: str) -> Task:
        """A task, as it is now."""
        return await self._ask(questions.get(task_id))

    async def wait(self, task_id: str, *, timeout_s: float = 300.0) -> Task:
        """A task, when it has ended: completed, failed or cancelled.

        Raises:
            TimeoutError: it has not ended in time; it goes on.
        """
        watching = Watching()
        async with (
            asyncio.timeout(timeout_s),
            aclosing(self._watch(task_id, watching)) as items,
        ):
            async for _ in items:
                pass
        return await self._ask(questions.get(task_id, watching.sequence))

    async def run(
        self, type: str, input: Any = None, *, wait_s: float = 300.0, **options: Any
    ) -> Task:
        """Create a task and wait for its end: ``client.run("rag", {...}).result(Answer)``.

        Args:
            type: as of :meth:`create`, like ``input`` and all other options.
            input: see there.
            wait_s: as ``timeout_s`` of :meth:`wait`.
            options: see there.
        """
        created = await self.create(type, input, **options)
        return await self.wait(created.id, timeout_s=wait_s)

    def stream(self, task_id: str, *, after: int = 0) -> AsyncIterator[Item]:
        """The events of a task as they happen, and its answer as it grows, until it ends.

        Resumes at another replica after the last event that was seen. Chunks may be missing
        then; the output in the last event is complete.

        Args:
            task_id: the task.
            after: the sequence of the last event that is already known.
        """
        return self._watch(task_id, Watching(after))

    async def cancel(self, task_id: str, reason: str | None = None) -> Task:
        """End a task; to cancel a cancelled one succeeds."""
        return await self._ask(questions.cancel(task_id, reason))

    async def list_tasks(
        self,
        *,
        status: str | None = None,
        type: str | None = None,
        conversation_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        page_size: int = 100,
    ) -> AsyncIterator[TaskSummary]:
        """All tasks of the tenant that fit, newest first, page by page."""
        token: str | None = ""
        while token is not None:
            page = await self._ask(
                questions.list_tasks(
                    token,
                    status=status,
                    type=type,
                    conversation_id=conversation_id,
                    since=since,
                    until=until,
                    page_size=page_size,
                )
            )
            for task in page.tasks:
                yield task
            token = page.next_page_token

    async def list_dead_letters(
        self,
        *,
        status: str | None = None,
        code: str | None = None,
        task_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        page_size: int = 100,
    ) -> AsyncIterator[DeadLetter]:
        """All dead letters of the tenant that fit, newest first, page by page."""
        token: str | None = ""
        while token is not None:
            page = await self._ask(
                questions.list_letters(
                    token,
                    status=status,
                    code=code,
                    task_id=task_id,
                    since=since,
                    until=until,
                    page_size=page_size,
                )
            )
            for letter in page.dead_letters:
                yield letter
            token = page.next_page_token

    async def get_dead_letter(self, letter_id: str) -> LetterDetail:
        """A dead letter with its record."""
        return await self._ask(questions.get_letter(letter_id))

    async def replay_dead_letters(
        self, ids: Sequence[str], *, reason: str, dry_run: bool = True
    ) -> Replayed:
        """Send up to 1,000 dead letters back; with ``dry_run`` only say what that would do.

        Not made again by itself without ``dry_run``: after an error look at the letters first.
        """
        return await self._ask(questions.replay_letters(tuple(ids), reason, dry_run))

    async def discard_dead_letter(self, letter_id: str, *, reason: str) -> DeadLetter:
        """Give a dead letter up."""
        return await self._ask(questions.discard_letter(letter_id, reason))

    async def _ask(self, question: Question[T]) -> T:
        attempts = self._attempts(question.repeatable)
        while True:
            url = self._replicas.url
            try:
                return await self._answer(question, url)
            except OrchestratorError as error:
                error.key = question.key
                await self._pause(attempts, error, url)

    async def _answer(self, question: Question[T], url: str) -> T:
        until_s = _now() + self._timeout_s
        request = self._http.build_request(
            question.method,
            url + question.path,
            content=question.body,
            params=question.query,
            headers={**self._headers, **question.headers},
            timeout=timeout_of(self._timeout_s),
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._http.send(request, stream=True)
                try:
                    body = AnswerBody(answer, until_s)
                    async for part in answer.aiter_bytes():
                        if body.add(part):
                            break
                finally:
                    await answer.aclose()
        except TimeoutError:
            raise late() from None
        except httpx.HTTPError as error:
            raise unreachable(error) from error
        return question.read(answer.status_code, answer.headers, body.content)

    async def _watch(self, task_id: str, watching: Watching) -> AsyncGenerator[Item]:
        attempts = self._attempts(True)
        while not watching.over:
            url = self._replicas.url
            try:
                async with aclosing(self._connected(url, task_id, watching)) as items:
                    async for item in items:
                        yield item
            except OrchestratorError as error:
                if watching.heard:
                    watching.heard = False
                    attempts.served(_now() + self._retry_s, now_s=_now())
                await self._pause(attempts, error, url)

    async def _connected(self, url: str, task_id: str, watching: Watching) -> AsyncGenerator[Item]:
        """The items of one connection, to its end."""
        request = self._http.build_request(
            "GET",
            url + questions.events_path(task_id),
            headers={**self._headers, **watching.headers()},
            timeout=stream_timeout(SILENCE_S),
        )
        try:
            answer = await self._http.send(request, stream=True)
            try:
                if answer.status_code == 204:
                    watching.over = True  # it ended before
                    return
                body = AnswerBody(answer, _now() + self._timeout_s)
                async for part in answer.aiter_bytes():
                    if answer.status_code != 200:
                        if body.add(part):
                            break
                        continue
                    for item in watching.feed(part):
                        yield item
                if answer.status_code != 200:
                    raise refusal_of(answer.status_code, answer.headers, body.content)
            finally:
                await answer.aclose()
        except httpx.HTTPError as error:
            raise unreachable(error) from error
        if not watching.over:
            raise UnavailableError("STREAM_ENDED", "the stream ended before the task")

    def _attempts(self, repeatable: bool) -> Attempts:
        until_s = _now() + self._retry_s
        return Attempts(self._replicas, repeatable=repeatable, until_s=until_s)

    async def _pause(self, attempts: Attempts, error: OrchestratorError, url: str) -> None:
        now_s, jitter = _now(), random.random()
        await asyncio.sleep(attempts.pause_after(error, url, now_s=now_s, jitter=jitter))
