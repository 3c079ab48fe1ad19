"""Takes records out of fetched batches; unreadable ones are handed over as faults."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import aiokafka
import structlog
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.util import decode_varint_py as decode_varint
from aiokafka.structs import ConsumerRecord

from schemas.dead_letter import FetchFault, Origin
from schemas.errors import BatchCorruptError, DecodeError, RecordCorruptError
from streams import metrics
from streams.kafka.fetch.batch import FetchedBatch, FetchedBatches

log = structlog.get_logger()

_AIOKAFKA = "0.14."
_SMALLEST_RECORD_BYTES = 7


@dataclass
class UnreadableRecord(ConsumerRecord):  # type: ignore[misc]
    """Stands for records that could not be taken out of their batch, at the offset of the last."""

    fault: FetchFault | None = field(default=None, kw_only=True)


class IsolatingRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """aiokafka's ``PartitionRecords``, but a faulty batch does not raise.

    aiokafka raises out of ``getmany`` and fetches the same batch again, for ever. Here a
    batch that is compressed with an unknown codec, does not decompress, grows too large or has
    a wrong checksum becomes one :class:`UnreadableRecord`, and the partition goes on after it. If
    the batch opens, only the records that do not parse become unreadable ones.
    """

    next_fetch_offset: int

    def _unpack_records(self) -> Iterator[Any]:
        while self._records.has_next():
            batch = self._records.next_batch()
            try:
                wanted = self._is_wanted(batch)
                for record in self._records_of(batch) if wanted else ():
                    if record.offset >= batch.next_offset:
                        raise BatchCorruptError(f"a record claims the offset {record.offset}")
                    if record.offset < self.next_fetch_offset:
                        continue
                    self.next_fetch_offset = record.offset + 1
                    yield record
            # The boundary: whatever is wrong with the bytes, the partition must go on.
            except Exception as error:
                known = error if isinstance(error, DecodeError) else _corrupt(error)
                first = self.next_fetch_offset
                self.next_fetch_offset = max(first, batch.next_offset)
                if first < batch.next_offset:
                    yield self._unreadable(batch, first, known)
            # Compaction removes records, but the last offset of a batch stays.
            self.next_fetch_offset = max(self.next_fetch_offset, batch.next_offset)

    def _is_wanted(self, batch: FetchedBatch) -> bool:
        """Follow the transactions; False for markers and for aborted records."""
        if self._isolation_level == fetcher.READ_COMMITTED and batch.producer_id >= 0:
            self._consume_aborted_up_to(batch.base_offset)
            if batch.is_control and self._contains_abort_marker(batch.opened()):
                self._aborted_producers.discard(batch.producer_id)
            if batch.is_transactional and batch.producer_id in self._aborted_producers:
                return False
        return not batch.is_control

    def _records_of(self, batch: FetchedBatch) -> Iterator[Any]:
        opened, read_to = batch.opened(), -1
        try:
            for record in opened:
                read_to = record.offset
                yield self._consumer_record(self._tp, record)
        # Some records are faulty, not the whole batch: the others are read one by one.
        except Exception:
            if batch.magic < 2:
                raise
            for record in self._one_by_one(batch):
                if record.offset > read_to:
                    yield record

    def _one_by_one(self, batch: FetchedBatch) -> Iterator[Any]:
        """The records of a batch in which some do not parse, such as a header without UTF-8.

        Raises:
            BatchCorruptError: the lengths of the records are wrong, so that the next one cannot
                be found.
        """
        # The compiled decoder of numbers reads beyond the bytes, and crashes the process.
        plain = batch.decompressed()
        slow = _DefaultRecordBatchPy(plain)
        for _ in range(slow._num_records):
            start = slow._pos
            length, body = decode_varint(slow._buffer, start)
            end = body + length
            if length < _SMALLEST_RECORD_BYTES - 1 or end > len(slow._buffer):
                raise BatchCorruptError(f"a record claims {length} bytes")
            try:
                yield self._consumer_record(self._tp, slow._read_msg(decode_varint))
            except Exception as error:
                offset = batch.base_offset + _offset_delta(slow._buffer, body)
                if offset >= batch.next_offset:
                    raise BatchCorruptError(f"a record claims the offset {offset}") from error
                fault = RecordCorruptError(f"{type(error).__name__}: {error}")
                yield self._fault_at(batch, offset, offset, fault, bytes(plain[start:end]))
            slow._pos = end

    def _unreadable(self, batch: FetchedBatch, first: int, error: DecodeError) -> UnreadableRecord:
        # Compaction may have removed the records between the position and the batch.
        first = max(first, batch.base_offset)
        return self._fault_at(batch, first, batch.next_offset - 1, error, batch.raw)

    def _fault_at(
        self, batch: FetchedBatch, first: int, last: int, error: DecodeError, raw: bytes
    ) -> UnreadableRecord:
        topic, partition = self._tp
        metrics.UNREADABLE.labels(topic, error.code).inc(last - first + 1)
        log.error(
            "records_unreadable",
            topic=topic,
            partition=partition,
            first_offset=first,
            last_offset=last,
            code=error.code,
            reason=str(error)[:200],
            bytes=len(raw),
        )
        return UnreadableRecord(
            topic=topic,
            partition=partition,
            offset=last,
            timestamp=max(0, batch.max_timestamp),
            timestamp_type=0,
            key=None,
            value=None,
            checksum=None,
            serialized_key_size=-1,
            serialized_value_size=-1,
            headers=(),
            fault=FetchFault(first_offset=first, code=error.code, message=str(error), batch=raw),
        )


def origin_of(record: ConsumerRecord) -> Origin:
    """Convert a record of aiokafka to the type that our readers take."""
    return Origin(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp or 0,
        key=record.key,
        value=record.value,
        headers=tuple(record.headers or ()),
        fault=record.fault if isinstance(record, UnreadableRecord) else None,
    )


def install() -> None:
    """Make every consumer of this process use :class:`IsolatingRecords`; idempotent.

    aiokafka offers no way to set the class, so two names of its fetcher are replaced.

    Raises:
        RuntimeError: another version of aiokafka is installed; compare its fetcher first.
    """
    if not aiokafka.__version__.startswith(_AIOKAFKA):
        raise RuntimeError(f"aiokafka is {aiokafka.__version__}, this needs {_AIOKAFKA}x")
    fetcher.PartitionRecords = IsolatingRecords
    fetcher.MemoryRecords = FetchedBatches


def _offset_delta(buffer: bytes | bytearray, body: int) -> int:
    """The third field of a record, after its attributes and its time."""
    delta, position = 0, body
    for _ in range(3):
        delta, position = decode_varint(buffer, position)
    return int(delta)


def _corrupt(error: Exception) -> BatchCorruptError:
    return BatchCorruptError(f"{type(error).__name__}: {error}")
