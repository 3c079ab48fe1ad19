"""The batches in a fetched piece of a partition. Pure.

Source of the format: Apache Kafka, "Message Format", record batch version 2.
"""

from __future__ import annotations

import struct
from typing import Any

from aiokafka.record.default_records import DefaultRecordBase, DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch

from schemas.errors import BatchCorruptError, BatchTooLargeError, CodecUnknownError
from streams.kafka.fetch.decompress import decompress

_PREFIX = struct.Struct(">qiib")  # base offset, length, leader epoch, magic
_LENGTH = struct.Struct(">i")
_LENGTH_AT = 8
_LENGTH_END = 12
"""Bytes of a batch that its length field does not count: the base offset and the length."""
_HEADER = DefaultRecordBase.HEADER_STRUCT
_ATTRIBUTES = DefaultRecordBase.ATTRIBUTES_OFFSET
RECORDS_MAX = 50_000
"""Records in one batch. A record of ours has at least 100 bytes; 300,000 empty ones fit into
200 KB, and each would become a dead letter of its own."""
_MAGIC_AT = 16
_MAGIC = 2


class FetchedBatch:
    """One batch as the broker keeps it; only its header was read."""

    __slots__ = (
        "_legacy",
        "_short",
        "attributes",
        "base_offset",
        "is_control",
        "is_transactional",
        "magic",
        "max_timestamp",
        "next_offset",
        "producer_id",
        "raw",
    )

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        """The whole batch: the header, and the records, which may be compressed."""
        self._legacy = self._short = self.is_control = self.is_transactional = False
        self.attributes, self.producer_id, self.max_timestamp = 0, -1, -1
        if len(raw) < _HEADER.size or raw[_MAGIC_AT] < _MAGIC:
            self.base_offset, _, _, self.magic = _PREFIX.unpack_from(raw)
            self.next_offset = self.base_offset + 1
            self._legacy = 0 <= self.magic < _MAGIC
            self._short = not self._legacy
            return
        header = _HEADER.unpack_from(raw)
        self.base_offset, self.magic, self.attributes = header[0], header[3], header[5]
        # A negative delta would send the reader back for ever.
        self.next_offset = self.base_offset + max(0, header[6]) + 1
        self.max_timestamp, self.producer_id = header[8], header[9]
        # The markers that end transactions; they are never read as records.
        self.is_control = bool(self.attributes & DefaultRecordBase.CONTROL_MASK)
        self.is_transactional = bool(self.attributes & DefaultRecordBase.TRANSACTIONAL_MASK)

    def opened(self) -> Any:
        """The batch for aiokafka's parser: with a correct checksum and without compression.

        Raises:
            BatchCorruptError: the checksum is wrong, or the bytes do not decompress.
            BatchTooLargeError: the records would be too large in memory.
            CodecUnknownError: the codec or the format of the batch is unknown.
        """
        if self._legacy:
            return self._opened_legacy()
        if self._short:
            raise BatchCorruptError(f"the batch has {len(self.raw)} bytes, less than a header")
        if self.magic != _MAGIC:
            raise CodecUnknownError(f"the batch has format {self.magic}, known is {_MAGIC}")
        batch = DefaultRecordBatch(self.raw)
        if not batch.validate_crc():
            raise BatchCorruptError("the checksum of the batch is wrong")
        if self.next_offset - self.base_offset > RECORDS_MAX:
            raise BatchTooLargeError(f"the batch has more than {RECORDS_MAX} records")
        codec = self.attributes & DefaultRecordBase.CODEC_MASK
        return DefaultRecordBatch(self._decompressed(codec)) if codec else batch

    def decompressed(self) -> bytes:
        """The batch without compression; raises as :meth:`opened`."""
        codec = self.attributes & DefaultRecordBase.CODEC_MASK
        return self._decompressed(codec) if codec else self.raw

    def _decompressed(self, codec: int) -> bytes:
        records = decompress(codec, memoryview(self.raw)[_HEADER.size :])
        plain = bytearray(self.raw[: _HEADER.size])
        _LENGTH.pack_into(plain, _LENGTH_AT, _HEADER.size - _LENGTH_END + len(records))
        attributes = self.attributes & ~DefaultRecordBase.CODEC_MASK
        struct.pack_into(">h", plain, _ATTRIBUTES, attributes)
        return bytes(plain) + records

    def _opened_legacy(self) -> Any:
        """Formats 0 and 1, from before Kafka 0.11; aiokafka decompresses these itself."""
        batch = LegacyRecordBatch(self.raw, self.magic)
        if not batch.validate_crc():
            raise BatchCorruptError("the checksum of the message is wrong")
        self.next_offset = max(self.next_offset, batch.next_offset)
        return batch


class FetchedBatches:
    """The batches that a fetch brought for one partition. aiokafka's ``MemoryRecords``.

    The last batch may be incomplete: it is fetched again.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0
        self._end = self._next_end()

    def size_in_bytes(self) -> int:
        """Size of everything that was fetched, in bytes."""
        return len(self._data)

    def has_next(self) -> bool:
        """True while a whole batch follows."""
        return self._end is not None

    def next_batch(self) -> FetchedBatch:
        """The next whole batch."""
        assert self._end is not None
        raw = self._data[self._position : self._end]
        self._position = self._end
        self._end = self._next_end()
        return FetchedBatch(raw)

    def _next_end(self) -> int | None:
        start = self._position
        if len(self._data) - start < _PREFIX.size:
            return None
        (length,) = _LENGTH.unpack_from(self._data, start + _LENGTH_AT)
        # A length smaller than the prefix would not move the reader on.
        end = start + _LENGTH_END + max(length, _PREFIX.size - _LENGTH_END)
        return int(end) if end <= len(self._data) else None
