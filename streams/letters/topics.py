"""Which dead-letter topics a system has, as its broker lists them."""

from __future__ import annotations

import asyncio
import re

from aiokafka.errors import KafkaError

from schemas.topics import DLQ_PREFIX
from streams.kafka.connection import admin_client
from streams.kafka.refusal import why_unavailable
from streams.settings import KafkaSettings

_STEP = re.compile(r"steps\.[^.]+\.(high|normal|low)\.v1")
_OTHERS = ("task-created", "task-commands", "step-results", "task-events", "dlq-actions")


async def dead_letter_topics(kafka: KafkaSettings, prefix: str) -> list[str]:
    """The dead-letter topics of a system that exist, sorted.

    The list comes from the broker and not from the installed pipelines: a command that runs
    without ``ORCH_PIPELINES_DIR`` must see the letters of all steps.

    Args:
        kafka: the brokers and the timeouts.
        prefix: the prefix of the system's topics. Topics of another system whose prefix begins
            with this one are left out.

    Raises:
        KafkaUnavailableError: no broker answers in time.
    """
    client = admin_client(kafka, client_id=f"{kafka.client_id}-dlq-topics")
    try:
        async with asyncio.timeout(kafka.request_timeout_s):
            await client.start()
            names = await client.list_topics()
    except (KafkaError, TimeoutError) as error:
        raise await why_unavailable(kafka, error) from error
    finally:
        await client.close()
    return sorted(name for name in names if is_dead_letter_topic(name, prefix))


def is_dead_letter_topic(name: str, prefix: str) -> bool:
    """True if a topic holds dead letters of the system with this prefix. Pure."""
    begin = DLQ_PREFIX + prefix
    if not name.startswith(begin):
        return False
    origin = name.removeprefix(begin)
    return origin in {f"{other}.v1" for other in _OTHERS} or _STEP.fullmatch(origin) is not None
