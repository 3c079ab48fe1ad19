"""What comes out of fetched bytes, however broken they are. Pure."""

import zlib
from typing import Any

import cramjam
import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED
from aiokafka.structs import TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import BatchCorruptError
from streams import metrics
from streams.kafka.fetch import decompress as decompression
from streams.kafka.fetch.batch import FetchedBatches
from streams.kafka.fetch.records import IsolatingRecords, UnreadableRecord, origin_of
from tests.streams.kafka.batches import CODECS, a_batch, resealed, with_codec

TP = TopicPartition("t", 0)


def read(data: bytes, start: int = 0) -> tuple[list[Any], int]:
    """The records of fetched bytes, and the position behind them."""
    records = IsolatingRecords(
        TP, FetchedBatches(data), [], start, None, None, True, READ_COMMITTED
    )
    return list(records), records.next_fetch_offset


def shape(found: list[Any]) -> list[tuple[int, object]]:
    """Offset, and the value or the code of the fault."""
    return [
        (r.offset, r.value if (fault := origin_of(r).fault) is None else fault.code) for r in found
    ]


@pytest.mark.parametrize("codec", [0, *CODECS.values()])
def test_batches_of_every_codec_are_read(codec: int) -> None:
    data = a_batch([b"a" * 1_000, b"b"], codec=codec) + a_batch([b"c"], codec=codec, at=2)

    found, position = read(data)

    assert shape(found) == [(0, b"a" * 1_000), (1, b"b"), (2, b"c")]
    assert position == 3


def test_snappy_without_the_java_framing_is_read() -> None:
    plain = a_batch([b"a" * 100])
    raw = plain[:61] + bytes(cramjam.snappy.compress_raw(plain[61:]))
    raw = raw[:8] + (len(raw) - 12).to_bytes(4, "big") + raw[12:]

    found, _ = read(with_codec(raw, CODECS["snappy"]))

    assert shape(found) == [(0, b"a" * 100)]


def _flipped(batch: bytes) -> bytes:
    return batch[:-1] + bytes([batch[-1] ^ 1])


BROKEN = {
    "wrong checksum": (_flipped(a_batch([b"x", b"y"], at=1)), "BATCH_CORRUPT"),
    "codec 5": (with_codec(a_batch([b"x", b"y"], at=1), 5), "CODEC_UNKNOWN"),
    "codec 7": (with_codec(a_batch([b"x", b"y"], at=1), 7), "CODEC_UNKNOWN"),
    "no lz4": (with_codec(a_batch([b"x", b"y"], at=1), 3), "BATCH_CORRUPT"),
    "no zstd": (with_codec(a_batch([b"x", b"y"], at=1), 4), "BATCH_CORRUPT"),
    "no gzip": (with_codec(a_batch([b"x", b"y"], at=1), 1), "BATCH_CORRUPT"),
    "no snappy": (with_codec(a_batch([b"x", b"y"], at=1), 2), "BATCH_CORRUPT"),
    "a later format": (
        a_batch([b"x", b"y"], at=1)[:16] + b"\x03" + a_batch([b"x", b"y"], at=1)[17:],
        "CODEC_UNKNOWN",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_batch_is_one_fault_and_the_batches_around_it_are_read(name: str) -> None:
    batch, code = BROKEN[name]

    found, position = read(a_batch([b"before"]) + batch + a_batch([b"after"], at=3))

    assert shape(found) == [(0, b"before"), (2, code), (3, b"after")]
    assert (found[1].fault.first_offset, found[1].fault.batch) == (1, batch)
    assert position == 4


@pytest.mark.parametrize("codec", CODECS)
def test_a_batch_that_grows_beyond_the_bound_is_a_fault(
    codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decompression, "DECOMPRESSED_MAX_BYTES", 500_000)
    bomb = a_batch([b"a" * 600_000], codec=CODECS[codec])
    fits = a_batch([b"a" * 400_000], codec=CODECS[codec], at=1)

    found, _ = read(bomb + fits)

    assert len(bomb) < 60_000
    assert shape(found) == [(0, "BATCH_TOO_LARGE"), (1, b"a" * 400_000)]


def test_the_members_of_a_gzip_stream_are_bounded_together() -> None:
    member = zlib.compressobj(wbits=31)
    piece = member.compress(b"a" * 40_000_000) + member.flush()

    with pytest.raises(Exception, match="more than 67108864 bytes"):
        decompression.decompress(1, memoryview(piece * 2))


def test_a_gzip_stream_of_very_many_members_ends_soon() -> None:
    empty = zlib.compressobj(wbits=31)
    piece = empty.flush()

    with pytest.raises(BatchCorruptError, match="more than 1000 members"):
        decompression.decompress(1, memoryview(piece * 50_000))


@given(parts=st.lists(st.binary(max_size=40_000), min_size=1, max_size=6))
@settings(max_examples=50)
def test_the_members_of_a_gzip_stream_are_read_one_after_the_other(parts: list[bytes]) -> None:
    stream = b""
    for part in parts:
        member = zlib.compressobj(level=0, wbits=31)
        stream += member.compress(part) + member.flush()

    assert decompression.decompress(1, memoryview(stream)) == b"".join(parts)


def test_a_batch_of_very_many_records_is_one_fault() -> None:
    found, position = read(a_batch([b""] * 50_001) + a_batch([b"next"], at=50_001))

    assert shape(found) == [(50_000, "BATCH_TOO_LARGE"), (50_001, b"next")]
    assert position == 50_002


def test_a_header_that_is_no_utf8_costs_only_its_record() -> None:
    good = [b"1", b"2", b"3"]
    batch = a_batch(good, headers=[("name", b"v")])
    at = batch.index(b"name", batch.index(b"name") + 1)

    found, position = read(resealed(batch[:at] + b"\xff\xfe\xfd\xfc" + batch[at + 4 :]))

    assert shape(found) == [(0, b"1"), (1, "RECORD_CORRUPT"), (2, b"3")]
    assert position == 3


def test_lengths_that_lead_nowhere_are_a_fault_of_what_follows() -> None:
    batch = a_batch([b"first", b"second", b"third"])
    at = batch.index(b"second") - 7  # the length of the second record

    found, position = read(resealed(batch[:at] + b"\x7f" + batch[at + 1 :]))

    assert shape(found)[0] == (0, b"first")
    assert isinstance(found[-1], UnreadableRecord)
    assert position == 3


def test_a_batch_below_the_position_is_passed_over_also_when_it_is_broken() -> None:
    found, position = read(_flipped(a_batch([b"old"])) + a_batch([b"new"], at=1), start=1)

    assert shape(found) == [(1, b"new")]
    assert position == 2


def test_records_that_cannot_be_read_are_counted() -> None:
    counter = metrics.UNREADABLE.labels("t", "BATCH_CORRUPT")
    before = counter._value.get()

    read(_flipped(a_batch([b"x", b"y"])))

    assert counter._value.get() == before + 2


@given(data=st.binary(max_size=300), start=st.integers(0, 5))
@settings(max_examples=500)
def test_no_bytes_make_the_reader_raise_or_go_back(data: bytes, start: int) -> None:
    _, position = read(data, start)

    assert position >= start


@given(flips=st.lists(st.tuples(st.integers(12, 200), st.integers(0, 255)), max_size=8))
@settings(max_examples=500)
def test_a_damaged_batch_never_hides_the_next_one(flips: list[tuple[int, int]]) -> None:
    batch = bytearray(a_batch([b"x" * 40, b"y" * 40], headers=[("h", b"v")]))
    for place, byte in flips:
        batch[place % (len(batch) - 12) + 12] = byte
    # The offset of its last record stays, or the batch would claim others' offsets.
    batch[23:27] = (1).to_bytes(4, "big")

    found, position = read(resealed(bytes(batch)) + a_batch([b"next"], at=2))

    assert shape(found)[-1] == (2, b"next")
    assert position == 3
    assert [r.offset for r in found] == sorted(r.offset for r in found)
