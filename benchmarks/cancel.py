"""How long a cancel needs from its control record to the abort of the call.

A real Kafka, a step worker with calls in flight, a service in the same process. The time
begins before the record is published, so it includes the broker's acknowledgement.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.harness.figures import PACKAGES, record
from benchmarks.harness.machine import print_machine
from orchestrator.local.embedded.kafka import EmbeddedKafka
from streams.settings import KafkaSettings
from tests.agents.steps.working import Service, a_command, a_site, a_worker
from tests.streams.building import until

CALLS = 200


async def main(given: argparse.Namespace) -> None:
    print_machine(*PACKAGES)
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedKafka(Path(folder) / "kafka")
        await server.start()
        try:
            delays_ms = await measure(KafkaSettings(bootstrap=server.bootstrap))
        finally:
            await server.kill()
    cuts = statistics.quantiles(delays_ms, n=100)
    p50, p95, longest = (round(ms, 1) for ms in (cuts[49], cuts[94], max(delays_ms)))
    print(
        f"{CALLS} cancels, control record to abort of the call: "
        f"p50 {p50} ms, p95 {p95} ms, max {longest} ms"
    )
    if given.record:
        head = ["cancels", "p50 ms", "p95 ms", "max ms"]
        record("cancel", {"head": head, "rows": [[CALLS, p50, p95, longest]]})


async def measure(kafka: KafkaSettings) -> list[float]:
    service = Service()
    service.answers.clear()
    # Not the last attempts of their tasks: the flood guard lets few of these run at once.
    commands = [a_command(max_attempts=3) for _ in range(CALLS)]
    delays_ms = []
    async with a_site(kafka) as site, a_worker(site, service, slots=CALLS + 1):
        await site.send(*commands)
        await until(lambda: len(service.calls) == CALLS)
        for number, command in enumerate(commands, 1):
            began_s = time.monotonic()
            await site.control(command.task_id)
            await until(lambda done=number: len(service.aborted) == done)  # type: ignore[misc]
            task_id, aborted_s = service.aborted[-1]
            assert task_id == command.task_id
            delays_ms.append((aborted_s - began_s) * 1000)
            # Not in step with the fetches: a cancel comes at any time.
            await asyncio.sleep(0.007 * (number % 11))
    return delays_ms


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--record", action="store_true", help="keep the figures")
    asyncio.run(main(parser.parse_args()))
