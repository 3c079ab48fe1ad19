"""A broker that is away for longer than a request: nobody ends, few words, everything goes on."""

import pytest

from tests.chaos.chaos import Chaos
from tests.chaos.outage import LINES_A_MINUTE, Site, in_the_middle

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]

_MINUTES = 0.6
"""Longer than ORCH_KAFKA_REQUEST_TIMEOUT_S, after which roles ended before."""


async def test_no_role_ends_while_the_broker_is_away_and_its_tasks_end_afterwards(
    chaos: Chaos,
) -> None:
    outage = await in_the_middle(Site(chaos.running, chaos.kafka), _MINUTES)

    print(outage)
    log = chaos.running.logs / "router.log"
    reasons = [line for line in log.read_text("utf-8").splitlines() if "process_fails" in line]
    assert outage.ended == [], reasons
    assert outage.most_lines_a_minute <= LINES_A_MINUTE
