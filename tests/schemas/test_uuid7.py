"""UUIDs that begin with their time."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from schemas.records import Millis
from schemas.uuid7 import new_task_id, uuid7
from tasks.identity import born_at


def test_the_example_of_the_rfc_comes_out() -> None:
    # RFC 9562, appendix A.6: time 0x017F22E279B0, rand_a 0xCC3, rand_b 0x18C4DC0C0C07398F.
    entropy = bytes.fromhex("0CC3 18C4DC0C0C07398F")

    assert uuid7(Millis(0x017F22E279B0), entropy) == UUID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")


@given(time=st.integers(0, 2**48 - 1), entropy=st.binary(min_size=10, max_size=10))
def test_an_id_tells_when_it_was_made(time: int, entropy: bytes) -> None:
    assert born_at(new_task_id(Millis(time), entropy)) == time


@given(times=st.lists(st.integers(0, 2**48 - 1), min_size=2, max_size=2, unique=True))
def test_ids_sort_by_their_time(times: list[int]) -> None:
    ids = [new_task_id(Millis(time), b"\xff" * 10) for time in sorted(times)]

    assert ids == sorted(ids)
