"""Acknowledgements never pass unfinished work."""

from hypothesis import given
from hypothesis import strategies as st

from streams.runtime.acks import OrderedAcks


class Item:
    """Compared by identity, as deliveries are."""

    def __init__(self, offset: int) -> None:
        self.offset = offset


@given(order=st.permutations(range(12)))
def test_whatever_the_order_of_finishing_offsets_are_released_in_order(order: list[int]) -> None:
    acks: OrderedAcks[Item] = OrderedAcks()
    items = [Item(offset) for offset in range(12)]
    for item in items:
        acks.add(item)
    released: list[int] = []
    finished: set[int] = set()
    for offset in order:
        finished.add(offset)
        released += [item.offset for item in acks.finish(items[offset])]

        assert released == list(range(len(released)))
        assert set(released) <= finished
        assert len(released) == 12 or len(released) not in finished
    assert released == list(range(12))


def test_what_was_not_released_comes_back_when_cleared() -> None:
    acks: OrderedAcks[Item] = OrderedAcks()
    items = [Item(offset) for offset in range(3)]
    for item in items:
        acks.add(item)
    acks.finish(items[1])

    assert acks.clear() == items
    assert len(acks) == 0
