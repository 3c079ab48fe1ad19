"""A member of a group, as a process: ``member.py BOOTSTRAP GROUP TOPIC[,TOPIC] INSTANCE_ID``.

Prints a line of JSON for each assignment.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

from streams.health import Health
from streams.runtime.app import create_app
from streams.runtime.batches import batches
from streams.runtime.run import run_app
from streams.settings import KafkaSettings
from streams.stop_signals import stop_signals


class Reporter:
    """Tells what the group assigns."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def drain(self, timeout_s: float) -> None:
        """Nothing is in flight."""

    def assigned(self, partitions: frozenset[int]) -> None:
        topics = sorted({tp.topic for tp in self._app.consumer.assignment()})
        line = {
            "partitions": sorted(partitions),
            "generation": self._app.consumer_generation_id,
            "topics": topics,
        }
        print(json.dumps(line), flush=True)


async def main(bootstrap: str, group: str, topic: str, instance_id: str) -> int:
    kafka = KafkaSettings(
        bootstrap=bootstrap,
        instance_id=instance_id,
        session_timeout_s=25.0,
        commit_interval_s=0.2,
        drain_timeout_s=1.0,
    )
    app = create_app(group, kafka)
    app.drainables.append(Reporter(app))

    @app.agent(app.topic(*topic.split(",")))  # type: ignore[untyped-decorator]
    async def work(stream: AsyncIterator[object]) -> None:
        async for batch in batches(stream):
            for delivery in batch:
                delivery.ack()

    with stop_signals() as stopping:
        return await run_app(app, Health(), stopping, grace_s=1.0)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
