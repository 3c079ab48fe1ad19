"""Which deliveries wait for later ones."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.projection.holding import HELD_MAX, Holding
from schemas.records import EventKind, TaskEvent
from streams.envelopes import type_name

ENDS = {EventKind.COMPLETED, EventKind.FAILED, EventKind.CANCELLED}
NOT_OF_A_TASK = {EventKind.OWNERSHIP_TAKEN, EventKind.UNKNOWN}
GOES_ON = sorted(set(EventKind) - ENDS - NOT_OF_A_TASK)


@dataclass(frozen=True)
class Delivered:
    headers: tuple[tuple[str, bytes | None], ...]


def of_kind(kind: EventKind) -> Delivered:
    return Delivered((("ce_type", type_name(TaskEvent, kind).encode()),))


@pytest.mark.parametrize("kind", GOES_ON)
def test_an_event_after_which_its_task_goes_on_waits_until_it_is_due(kind: EventKind) -> None:
    holding = Holding[Delivered](0.1)

    assert not holding.add([of_kind(kind)], 10.0)
    assert holding.wakeup_s(10.04) == pytest.approx(0.06)
    assert not holding.add([], 10.09)
    assert holding.add([], 10.1)


@pytest.mark.parametrize("kind", sorted(ENDS | NOT_OF_A_TASK))
def test_an_event_that_ends_a_task_is_written_at_once_with_all_before_it(kind: EventKind) -> None:
    holding = Holding[Delivered](0.1)
    first, last = of_kind(EventKind.CREATED), of_kind(kind)

    assert not holding.add([first], 10.0)
    assert holding.add([last], 10.01)
    assert holding.held == [first, last]


@pytest.mark.parametrize("headers", [(), (("ce_type", None),), (("ce_type", b"\xff"),)])
def test_a_record_that_does_not_say_what_it_is_does_not_wait(
    headers: tuple[tuple[str, bytes | None], ...],
) -> None:
    assert Holding[Delivered](0.1).add([Delivered(headers)], 10.0)


def test_a_busy_partition_does_not_wait() -> None:
    assert Holding[Delivered](0.1).add([of_kind(EventKind.STARTED)] * HELD_MAX, 10.0)


def test_without_a_hold_everything_is_written_at_once() -> None:
    assert Holding[Delivered](0.0).add([of_kind(EventKind.CREATED)], 10.0)


@given(st.lists(st.tuples(st.sampled_from(list(EventKind)), st.floats(0, 0.3))))
def test_nothing_waits_longer_than_the_hold_and_nothing_is_lost_or_moved(
    arrivals: list[tuple[EventKind, float]],
) -> None:
    holding, now_s = Holding[Delivered](0.1), 100.0
    came, written, since_s = list[Delivered](), list[Delivered](), now_s
    for kind, pause_s in arrivals:
        # The partition's task calls again when the first one that waits is due.
        wakeup_s = holding.wakeup_s(now_s)
        if wakeup_s is not None and wakeup_s <= pause_s:
            assert holding.add([], now_s + wakeup_s + 1e-9)
            written += holding.held
            holding.clear()
        now_s += pause_s
        since_s = since_s if holding.held else now_s
        came.append(of_kind(kind))
        if holding.add(came[-1:], now_s):
            written += holding.held
            holding.clear()
        else:
            assert now_s - since_s <= 0.1 + 1e-6
    assert [id(one) for one in [*written, *holding.held]] == [id(one) for one in came]
