"""Step worker: runs the commands of one step against its downstream service.

In: the three lane topics of the step, weighted; and ``control``, which stops calls. Out:
``step-results``, and dead letters for records that are not a command. Delivery: a command is
acknowledged when its result is in the log, so a killed worker's commands run again; the
service sees the same idempotency key. A second copy of a command is answered with the
result of the first, while that result is remembered.
"""

from collections.abc import AsyncIterator, Sequence

from agents.steps.runner import StepRunner
from agents.steps.settings import WorkerSettings
from streams.runtime.app import App, create_app
from streams.runtime.batches import batches
from streams.runtime.window import InFlightWindow
from streams.settings import KafkaSettings

LANE_WEIGHTS = (60, 30, 10)
"""Shares of the starts while all lanes wait, the most urgent lane first."""

# A part of the buffer, so that one poll cannot overfill it by much.
_POLL_PARTS = 10


def create_step_worker(
    lanes: Sequence[str],
    *,
    service: str,
    group: str,
    kafka: KafkaSettings,
    settings: WorkerSettings,
    runner: StepRunner,
) -> App:
    """Build the application of one step's workers.

    Args:
        lanes: the topics of the step, most urgent first.
        service: the service that the step's commands call.
        group: the consumer group of this step's workers.
        kafka: the brokers and the timeouts.
        settings: the limits of the process.
        runner: already knows which runs were cancelled.

    Raises:
        SettingsError: the service does not exist.
    """
    app = create_app(
        group,
        kafka,
        poll_records_max=max(1, settings.buffered_max // _POLL_PARTS),
        copartitioned=True,
    )
    window = InFlightWindow(
        app,
        runner.run,
        at_once=runner.at_once(service),
        weights=dict(zip(lanes, LANE_WEIGHTS, strict=True)),
        slots=settings.slots,
        buffered_max=settings.buffered_max,
        patience_s=settings.patience_s,
    )
    runner.attach(app)

    @app.agent(app.topic(*lanes))  # type: ignore[untyped-decorator]
    async def work(stream: AsyncIterator[object]) -> None:
        async for batch in batches(stream):
            window.offer(batch)

    return app
