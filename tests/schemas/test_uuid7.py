"""UUIDs that begin with their time."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.records import Millis, TaskId
from schemas.uuid7 import new_task_id, time_of, uuid7


def test_the_example_of_the_rfc_comes_out() -> None:
    # RFC 9562, appendix A.6: time 0x017F22E279B0, rand_a 0xCC3, rand_b 0x18C4DC0C0C07398F.
    entropy = bytes.fromhex("0CC3 18C4DC0C0C07398F")

    assert uuid7(Millis(0x017F22E279B0), entropy) == UUID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")


@given(time=st.integers(0, 2**48 - 1), entropy=st.binary(min_size=10, max_size=10))
def test_an_id_tells_when_it_was_made(time: int, entropy: bytes) -> None:
    assert time_of(new_task_id(Millis(time), entropy)) == time


@given(times=st.lists(st.integers(0, 2**48 - 1), min_size=2, max_size=2, unique=True))
def test_ids_sort_by_their_time(times: list[int]) -> None:
    ids = [new_task_id(Millis(time), b"\xff" * 10) for time in sorted(times)]

    assert ids == sorted(ids)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "task_",
        "my:task",
        "task_8f9a1c52-4a65-4e0b-9d6c-0f8a9c7b1e2d",
        "017F22E2-79B0-7CC3-98C4-DC0C0C07398F",
        "task_{017f22e2-79b0-7cc3-98c4-dc0c0c07398f}",
    ],
)
def test_other_ids_tell_nothing(text: str) -> None:
    assert time_of(TaskId(text)) is None
