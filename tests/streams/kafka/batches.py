"""Batches as a producer of any client could send them, made by hand."""

from __future__ import annotations

import struct
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import DefaultRecordBase, DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from streams.settings import KafkaSettings

CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
_CRC = DefaultRecordBase.CRC_OFFSET
_ATTRIBUTES = DefaultRecordBase.ATTRIBUTES_OFFSET
Header = tuple[str, bytes | None]


def a_batch(
    values: list[bytes],
    *,
    codec: int = 0,
    headers: list[Header] | None = None,
    at: int = 0,
    key: bytes = b"k",
) -> bytes:
    """A batch whose first record has the offset ``at``."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=codec,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1 << 30,
    )
    for offset, value in enumerate(values):
        builder.append(offset, timestamp=1_000, key=key, value=value, headers=headers or [])
    return struct.pack(">q", at) + bytes(builder.build())[8:]


def resealed(batch: bytes) -> bytes:
    """The batch with the checksum of what it holds now."""
    crc = calc_crc32c(batch[_ATTRIBUTES:])
    return batch[:_CRC] + struct.pack(">I", crc) + batch[_ATTRIBUTES:]


def with_codec(batch: bytes, codec: int) -> bytes:
    """The batch, claiming another codec."""
    changed = bytearray(batch)
    (attributes,) = struct.unpack_from(">h", changed, _ATTRIBUTES)
    struct.pack_into(">h", changed, _ATTRIBUTES, attributes & ~7 | codec)
    return resealed(bytes(changed))


class RawBuilder:
    """What aiokafka's producer sends instead of a batch that it builds itself."""

    def __init__(self, batch: bytes, count: int) -> None:
        self._batch = batch
        self._count = count

    def record_count(self) -> int:
        return self._count

    def close(self) -> None:
        """Nothing more is added."""

    def closed(self) -> bool:
        return True

    def _build(self) -> bytes:
        return self._batch


async def send_raw(
    kafka: KafkaSettings, topic: str, batch: bytes, *, count: int, partition: int = 0
) -> None:
    """Let the real broker judge and store a batch; a KafkaError if it refuses."""
    builder: Any = RawBuilder(batch, count)
    async with AIOKafkaProducer(bootstrap_servers=kafka.servers, acks="all") as producer:
        await (await producer.send_batch(builder, topic, partition=partition))
