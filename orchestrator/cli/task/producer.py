"""Publishes creates and commands, and waits for the owner's answer."""

from __future__ import annotations

import asyncio
from asyncio import FIRST_COMPLETED
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from orchestrator.cli.task.dead_answer import answer_of_letter, is_letter_of
from orchestrator.schema_ids import use_schema_ids
from orchestrator.settings import Settings
from schemas.records import TaskCommand, TaskCreated, TaskEvent
from schemas.topics import Topics, dlq
from streams.envelopes import created_record, task_command_record
from streams.errors import PublishError
from streams.history.task_log import TaskLog, ended
from streams.kafka.log_reader import LogReader
from streams.kafka.publisher import Outgoing, Publisher
from streams.tracing import trace_headers

SOURCE = "/orchestrator-cli"
"""Our name in CloudEvents' headers."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The position of a record, and the ends of its answers' topics before it was sent."""

    topic: str
    partition: int
    offset: int
    events_end: int
    letters_end: int


class DirectProducer:
    """Sends a create or a command to its task's partition, and finds its answer.

    The answer is an event whose cause is the record's position, or the record's dead letter.
    Nothing is sent twice: if no answer came, the record is in its topic anyway.
    """

    def __init__(
        self, topics: Topics, publisher: Publisher, events: LogReader, letters: LogReader
    ) -> None:
        self._topics = topics
        self._publisher = publisher
        self._log = TaskLog(events, topics)
        self._letters = letters

    async def create(self, task: TaskCreated) -> Sent:
        """Publish a request for a task; it is acknowledged when this returns.

        Raises:
            PublishError: it is unknown whether it was written. With the same id it may be sent
                again: a task that is published twice is done once.
        """
        partition = await self._log.partition(task.task_id)
        trace = trace_headers()
        return await self._send(created_record(self._topics, partition, task, SOURCE, trace))

    async def command(self, command: TaskCommand) -> Sent:
        """Publish a command about a task; it is acknowledged when this returns.

        Raises:
            PublishError: it is unknown whether it was written; look before you send it again.
        """
        partition = await self._log.partition(command.task_id)
        trace = trace_headers()
        return await self._send(
            task_command_record(self._topics, partition, command, SOURCE, trace)
        )

    async def answer(self, sent: Sent, command: TaskCommand, *, wait_s: float) -> TaskEvent | None:
        """The event that a command caused; None if it did not come in time.

        Raises:
            AnswerError: the command is a dead letter.
        """
        return await self._first(self._caused(sent, command), sent, wait_s)

    async def end(self, sent: Sent, task: TaskCreated, *, wait_s: float) -> TaskEvent | None:
        """The event that ended a task; None if it did not end in time.

        Raises:
            AnswerError: the request is a dead letter: the task will not exist.
        """
        known = task.idempotency_key is not None
        end = self._end_of_any(task) if known else self._end_of_new(sent, task)
        return await self._first(end, sent, wait_s)

    async def _send(self, record: Outgoing) -> Sent:
        events_end = await self._log.end(self._topics.task_events, record.partition)
        _, letters_end = await self._letters.bounds(dlq(record.topic), record.partition)
        [offset] = await self._publisher.publish([record])
        if offset < 0:
            raise PublishError("it was written, but the broker does not tell where")
        return Sent(record.topic, record.partition, offset, events_end, letters_end)

    async def _first(
        self, answer: Coroutine[Any, Any, TaskEvent], sent: Sent, wait_s: float
    ) -> TaskEvent | None:
        """The answer, unless a dead letter or the timeout comes first."""
        tasks = [asyncio.ensure_future(answer), asyncio.ensure_future(self._letter(sent))]
        try:
            done, _ = await asyncio.wait(tasks, timeout=wait_s, return_when=FIRST_COMPLETED)
            return next((task.result() for task in tasks if task in done), None)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _letter(self, sent: Sent) -> NoReturn:
        """Raise the error of the dead letter when it comes."""
        starts = {sent.partition: sent.letters_end}
        async with aclosing(self._letters.follow(dlq(sent.topic), starts)) as batches:
            async for records in batches:
                for record in records:
                    if is_letter_of(record, sent.offset):
                        raise answer_of_letter(record)
        raise AssertionError("a log is followed for ever")

    async def _caused(self, sent: Sent, command: TaskCommand) -> TaskEvent:
        events = self._log.accepted_from(command.task_id, sent.events_end, now=command.issued_at)
        async with aclosing(events):
            async for seen in events:
                event = seen.event
                if (event.cause_topic, event.cause_offset) == (sent.topic, sent.offset):
                    return event
        raise AssertionError("a log is followed for ever")

    async def _end_of_new(self, sent: Sent, task: TaskCreated) -> TaskEvent:
        events = self._log.accepted_from(task.task_id, sent.events_end, now=task.created_at)
        async with aclosing(events):
            async for seen in events:
                if seen.event.status.terminal:
                    return seen.event
        raise AssertionError("a log is followed for ever")

    async def _end_of_any(self, task: TaskCreated) -> TaskEvent:
        """For a task that may be as old as the log, because its key may have been used before."""
        history = await self._log.read(task.task_id)
        if not ended(history.life):
            async with aclosing(self._log.follow(history)) as events:
                async for _ in events:
                    if ended(history.life):
                        break
        return history.life[-1].event


@asynccontextmanager
async def open_producer(settings: Settings) -> AsyncIterator[DirectProducer]:
    """Connect.

    Raises:
        SchemaRegistryError: a registry is set and does not answer.
        KafkaUnavailableError, PublishError: no broker answers.
    """
    await use_schema_ids(settings)
    client_id = f"{settings.kafka.client_id}-task"
    publisher = Publisher(settings.kafka, client_id=client_id)
    async with AsyncExitStack() as opened:
        events = await opened.enter_async_context(LogReader(settings.kafka, client_id=client_id))
        letters = await opened.enter_async_context(LogReader(settings.kafka, client_id=client_id))
        opened.push_async_callback(publisher.close)
        await publisher.open()
        yield DirectProducer(Topics(settings.topics), publisher, events, letters)
