"""An error about a whole group is an error, not a group without positions and members."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka.errors import GroupLoadInProgressError, NotCoordinatorForGroupError

from streams.kafka.group_requests import described_members, stored_positions

ERRORS = [GroupLoadInProgressError, NotCoordinatorForGroupError]


@dataclass
class Answer:
    error_code: int = 0
    topics: list[Any] = field(default_factory=list)
    groups: list[Any] = field(default_factory=list)


class Coordinator:
    """Answers each request in the same way."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def find_coordinator(self, _group: str) -> int:
        return 1

    async def _send_request(self, _request: object, _node: int) -> Answer:
        return self._answer


@pytest.mark.parametrize("error", ERRORS)
async def test_a_coordinator_that_still_loads_says_nothing_about_positions(error: Any) -> None:
    whole: Any = Coordinator(Answer(error_code=error.errno))
    partition: Any = Coordinator(Answer(topics=[("t", [(0, -1, "", error.errno)])]))

    for client in (whole, partition):
        with pytest.raises(error):
            await stored_positions(client, "g", [("t", 0)])


@pytest.mark.parametrize("error", ERRORS)
async def test_a_coordinator_that_still_loads_says_nothing_about_members(error: Any) -> None:
    client: Any = Coordinator(Answer(groups=[(error.errno, "g", "", "", "", [])]))

    with pytest.raises(error):
        await described_members(client, "g")


async def test_positions_come_with_their_notes_and_missing_ones_are_left_out() -> None:
    stored = [("t", [(0, 7, "a note", 0), (1, -1, "", 0), (2, 3, None, 0)])]
    client: Any = Coordinator(Answer(topics=stored))
    found = await stored_positions(client, "g", [("t", 0), ("t", 1), ("t", 2)])

    assert {place: (at.offset, at.metadata) for place, at in found.items()} == {
        ("t", 0): (7, "a note"),
        ("t", 2): (3, ""),
    }
