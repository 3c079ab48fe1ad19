"""Step worker: runs the commands of one step against its downstream service.

In: the three lane topics of the step, read in turn. Out: ``step-results``, and dead letters
for what is no command. Delivery: a command is acknowledged when its result is in the log, so
a killed worker's commands run again; the service sees the same idempotency key.
"""

from collections.abc import AsyncIterator

from agents.step_runner import RunnerParts, StepRunner
from schemas.records import StepName
from streams.app import App, create_app
from streams.batches import batches
from streams.settings import KafkaSettings
from streams.window import InFlightWindow


def create_step_worker(
    step: StepName, *, group: str, kafka: KafkaSettings, slots: int, parts: RunnerParts
) -> App:
    """Build the application of one step's workers."""
    app = create_app(group, kafka)
    window = InFlightWindow(app, StepRunner(parts).run, slots=slots)

    @app.agent(app.topic(*parts.topics.lanes(step)))  # type: ignore[untyped-decorator]
    async def work(stream: AsyncIterator[object]) -> None:
        async for batch in batches(stream):
            for delivery in batch:
                await window.start(delivery)

    return app
