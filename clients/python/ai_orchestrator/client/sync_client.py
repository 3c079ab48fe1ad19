"""The client for programs that block."""

import random
import time
from collections.abc import Iterator, Mapping, Sequence
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
    stream_timeout,
    timeout_of,
    unreachable,
    urls_of,
)
from ai_orchestrator.client.views import DeadLetter, Item, LetterDetail, Replayed, Task, TaskSummary
from ai_orchestrator.client.watching import Watching

T = TypeVar("T")
_now = time.monotonic


class Client:
    """Calls the service over HTTP. May be used from several threads.

    ``with Client("http://a:8000", "http://b:8000", key="orch_…") as client:``. A call that a
    replica does not answer is made at the next one, for at most ``retry_s``; creates carry an
    idempotency key, so that a task is done once. ``AsyncClient`` has the same methods.

    Args:
        urls: the replicas of the service; ``http://127.0.0.1:8000`` without one.
        key: of the tenant; a service without keys needs none.
        tenant: whose tasks; for a key of all tenants.
        timeout_s: bound of one attempt, in seconds.
        retry_s: no attempt begins later than this after the first one, in seconds; 0: one attempt.
        http: a client of httpx to use, with TLS or proxies of its own; it stays open. Let it keep
            no connections, unless you trust every server between here and the service.

    Raises:
        OrchestratorError: from every method: its subclasses say what the caller may do.
    """

    def __init__(
        self,
        *urls: str,
        key: str | None = None,
        tenant: str | None = None,
        timeout_s: float = 30.0,
        retry_s: float = 30.0,
        http: httpx.Client | None = None,
    ) -> None:
        self._replicas = Replicas(urls_of(urls))
        self._headers = headers_of(key, tenant)
        self._timeout_s = timeout_s
        self._retry_s = retry_s
        self._own = http is None
        self._http = http or httpx.Client(limits=NOT_KEPT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        if self._own:
            self._http.close()

    def create(
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
        return self._ask(asked).task

    def get(self, task_id: str) -> Task:
        """A task, as it is now."""
        return self._ask(questions.get(task_id))

    def wait(self, task_id: str, *, timeout_s: float = 300.0) -> Task:
        """A task, when it has ended: completed, failed or cancelled.

        Raises:
            TimeoutError: it has not ended in time; it goes on.
        """
        watching = Watching()
        for _ in self._watch(task_id, watching, _now() + timeout_s):
            pass
        return self._ask(questions.get(task_id, watching.sequence))

    def run(self, type: str, input: Any = None, *, wait_s: float = 300.0, **options: Any) -> Task:
        """Create a task and wait for its end: ``client.run("rag", {...}).result(Answer)``.

        Args:
            type: as of :meth:`create`, like ``input`` and all other options.
            input: see there.
            wait_s: as ``timeout_s`` of :meth:`wait`.
            options: see there.
        """
        return self.wait(self.create(type, input, **options).id, timeout_s=wait_s)

    def stream(self, task_id: str, *, after: int = 0) -> Iterator[Item]:
        """The events of a task as they happen, and its answer as it grows, until it ends.

        Resumes at another replica after the last event that was seen. Chunks may be missing
        then; the output in the last event is complete.

        Args:
            task_id: the task.
            after: the sequence of the last event that is already known.
        """
        return self._watch(task_id, Watching(after), None)

    def cancel(self, task_id: str, reason: str | None = None) -> Task:
        """End a task; to cancel a cancelled one succeeds."""
        return self._ask(questions.cancel(task_id, reason))

    def list_tasks(
        self,
        *,
        status: str | None = None,
        type: str | None = None,
        conversation_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        page_size: int = 100,
    ) -> Iterator[TaskSummary]:
        """All tasks of the tenant that fit, newest first, page by page."""
        token: str | None = ""
        while token is not None:
            page = self._ask(
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
            yield from page.tasks
            token = page.next_page_token

    def list_dead_letters(
        self,
        *,
        status: str | None = None,
        code: str | None = None,
        task_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        page_size: int = 100,
    ) -> Iterator[DeadLetter]:
        """All dead letters of the tenant that fit, newest first, page by page."""
        token: str | None = ""
        while token is not None:
            page = self._ask(
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
            yield from page.dead_letters
            token = page.next_page_token

    def get_dead_letter(self, letter_id: str) -> LetterDetail:
        """A dead letter with its record."""
        return self._ask(questions.get_letter(letter_id))

    def replay_dead_letters(
        self, ids: Sequence[str], *, reason: str, dry_run: bool = True
    ) -> Replayed:
        """Send up to 1,000 dead letters back; with ``dry_run`` only say what that would do.

        Not made again by itself without ``dry_run``: after an error look at the letters first.
        """
        return self._ask(questions.replay_letters(tuple(ids), reason, dry_run))

    def discard_dead_letter(self, letter_id: str, *, reason: str) -> DeadLetter:
        """Give a dead letter up."""
        return self._ask(questions.discard_letter(letter_id, reason))

    def _ask(self, question: Question[T]) -> T:
        attempts = self._attempts(question.repeatable)
        while True:
            url = self._replicas.url
            try:
                return self._answer(question, url)
            except OrchestratorError as error:
                error.key = question.key
                self._pause(attempts, error, url)

    def _answer(self, question: Question[T], url: str) -> T:
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
            answer = self._http.send(request, stream=True)
            try:
                body = AnswerBody(answer, until_s)
                for part in answer.iter_bytes():
                    if body.add(part):
                        break
            finally:
                answer.close()
        except httpx.HTTPError as error:
            raise unreachable(error) from error
        return question.read(answer.status_code, answer.headers, body.content)

    def _watch(self, task_id: str, watching: Watching, until_s: float | None) -> Iterator[Item]:
        attempts = self._attempts(True)
        while not watching.over:
            url = self._replicas.url
            try:
                yield from self._connected(url, task_id, watching, until_s)
            except OrchestratorError as error:
                if until_s is not None and _now() >= until_s:
                    raise TimeoutError(f"{task_id} has not ended in time") from error
                if watching.heard:
                    watching.heard = False
                    attempts.served(_now() + self._retry_s, now_s=_now())
                self._pause(attempts, error, url)

    def _connected(
        self, url: str, task_id: str, watching: Watching, until_s: float | None
    ) -> Iterator[Item]:
        """The items of one connection, to its end."""
        left_s = SILENCE_S if until_s is None else until_s - _now()
        if left_s <= 0:
            raise TimeoutError(f"{task_id} has not ended in time")
        request = self._http.build_request(
            "GET",
            url + questions.events_path(task_id),
            headers={**self._headers, **watching.headers()},
            timeout=stream_timeout(left_s),
        )
        try:
            answer = self._http.send(request, stream=True)
            try:
                if answer.status_code == 204:
                    watching.over = True  # it ended before
                    return
                if answer.status_code != 200:
                    raise self._refused(answer)
                for part in answer.iter_bytes():
                    yield from watching.feed(part)
                    if until_s is None or watching.over:
                        continue
                    if _now() >= until_s:
                        raise TimeoutError(f"{task_id} has not ended in time")
                    if watching.idle and until_s - _now() < min(left_s, SILENCE_S) / 2:
                        # The next sign of life may come after the end of the wait: another
                        # connection listens no longer than that. Half: there are few of them.
                        return
            finally:
                answer.close()
        except httpx.HTTPError as error:
            raise unreachable(error) from error
        if not watching.over:
            raise UnavailableError("STREAM_ENDED", "the stream ended before the task")

    def _refused(self, answer: httpx.Response) -> OrchestratorError:
        """The error of a stream that was refused."""
        body = AnswerBody(answer, _now() + self._timeout_s)
        for part in answer.iter_bytes():
            if body.add(part):
                break
        return refusal_of(answer.status_code, answer.headers, body.content)

    def _attempts(self, repeatable: bool) -> Attempts:
        until_s = _now() + self._retry_s
        return Attempts(self._replicas, repeatable=repeatable, until_s=until_s)

    def _pause(self, attempts: Attempts, error: OrchestratorError, url: str) -> None:
        now_s, jitter = _now(), random.random()
        time.sleep(attempts.pause_after(error, url, now_s=now_s, jitter=jitter))
