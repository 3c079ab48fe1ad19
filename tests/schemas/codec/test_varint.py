"""Numbers as Avro writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec.varint import read_long, read_size, read_timestamp, write_long, write_timestamp

LONGS = st.integers(-(2**63), 2**63 - 1) | st.builds(
    lambda power, near: max(-(2**63), min(2**63 - 1, 2**power + near)),
    st.integers(0, 63),
    st.integers(-2, 2),
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, b"\x00"), (-1, b"\x01"), (1, b"\x02"), (-64, b"\x7f"), (64, b"\x80\x01")],
)
def test_a_number_is_written_as_the_specification_shows(value: int, expected: bytes) -> None:
    assert write_long(value) == expected


@given(value=LONGS, before=st.binary(max_size=3), after=st.binary(max_size=9))
def test_a_number_survives_between_other_bytes(value: int, before: bytes, after: bytes) -> None:
    written = write_long(value)
    data = before + written + after
    found = (value, len(before) + len(written))

    assert write_timestamp(value) == written
    assert read_long(data, len(before)) == found
    assert read_timestamp(data, len(before)) == found


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 2**64, -(2**64), 2**200])
def test_a_number_beyond_64_bits_is_refused(value: int) -> None:
    with pytest.raises(OverflowError):
        write_long(value)
    with pytest.raises(OverflowError):
        write_timestamp(value)


@pytest.mark.parametrize(
    "data", [b"\x80\x00", b"\x80" * 5 + b"\x00", b"\x80" * 9 + b"\x02", b"\xff" * 10 + b"\x01"]
)
def test_a_number_that_readers_differ_about_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="number"):
        read_long(data, 0)
    with pytest.raises(ValueError, match="number"):
        read_timestamp(data, 0)


def test_a_number_that_ends_too_early_is_refused() -> None:
    with pytest.raises(IndexError):
        read_long(b"\xff\xff", 0)
    with pytest.raises(IndexError):
        read_timestamp(b"\xff\xff", 0)


def test_a_size_under_0_is_refused() -> None:
    with pytest.raises(ValueError, match="under 0"):
        read_size(b"\x01", 0)
