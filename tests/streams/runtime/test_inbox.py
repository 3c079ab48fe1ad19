"""In which order an inbox gives away what waits in it."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.runtime.inbox import BATCH_MAX, BATCH_MAX_BYTES, INBOX_MAX, Inbox

LAST = "task-created"


@dataclass(frozen=True)
class Item:
    topic: str
    offset: int = 0
    size: int = 256


async def taken(inbox: Inbox[Item]) -> list[Item]:
    return await inbox.take(0.0)


async def test_what_goes_on_comes_before_what_begins() -> None:
    inbox = Inbox[Item](LAST)
    for topic in (LAST, "step-results", LAST, "task-commands"):
        inbox.put(Item(topic))

    assert [i.topic for i in await taken(inbox)] == ["step-results", "task-commands", LAST, LAST]


async def test_what_begins_gets_a_part_of_each_batch_however_much_goes_on() -> None:
    inbox = Inbox[Item](LAST)
    for topic in (LAST, "step-results"):
        for offset in range(BATCH_MAX):
            inbox.put(Item(topic, offset))

    batch = await taken(inbox)

    assert len(batch) == BATCH_MAX
    assert [i.offset for i in batch if i.topic == LAST] == list(range(BATCH_MAX // 10))


async def test_a_whole_batch_of_what_begins_is_enough() -> None:
    inbox = Inbox[Item](LAST)
    for offset in range(BATCH_MAX - 1):
        inbox.put(Item(LAST, offset))
    before = inbox.enough_of_last
    inbox.put(Item(LAST))

    assert (before, inbox.enough_of_last) == (False, True)


@pytest.mark.parametrize("topic", [LAST, "step-results"])
async def test_a_batch_of_large_values_is_shorter(topic: str) -> None:
    inbox = Inbox[Item](LAST)
    for offset in range(8):
        inbox.put(Item(topic, offset, size=BATCH_MAX_BYTES // 3))

    assert [len(await taken(inbox)) for _ in range(3)] == [3, 3, 2]


async def test_a_value_above_all_bounds_is_given_away_alone() -> None:
    inbox = Inbox[Item](LAST)
    for _ in range(2):
        inbox.put(Item("step-results", size=BATCH_MAX_BYTES + 1))

    assert [len(await taken(inbox)) for _ in range(3)] == [1, 1, 0]


async def test_large_values_do_not_stop_what_begins() -> None:
    inbox = Inbox[Item](LAST)
    for topic in (LAST, LAST, "step-results"):
        inbox.put(Item(topic, size=BATCH_MAX_BYTES))

    assert [i.topic for i in await taken(inbox)] == ["step-results", LAST]


async def test_there_is_room_again_when_something_was_taken() -> None:
    inbox = Inbox[Item](LAST)
    for offset in range(INBOX_MAX):
        inbox.put(Item("step-results", offset))
    refused = not inbox.put(Item("step-results"))
    await taken(inbox)

    assert refused
    assert inbox.put(Item("step-results"))


@given(
    topics=st.lists(st.sampled_from([LAST, "step-results", "task-commands"]), max_size=3_000),
    last=st.sampled_from([None, LAST]),
)
async def test_nothing_is_lost_and_each_topic_keeps_its_order(
    topics: list[str], last: str | None
) -> None:
    inbox = Inbox[Item](last)
    items = [Item(topic, offset) for offset, topic in enumerate(topics)]
    for item in items:
        inbox.put(item, force=True)
    found: list[Item] = []
    while batch := await taken(inbox):
        assert len(batch) <= BATCH_MAX
        found += batch

    for topic in set(topics):
        assert [i for i in found if i.topic == topic] == [i for i in items if i.topic == topic]
    assert last is not None or found == items
