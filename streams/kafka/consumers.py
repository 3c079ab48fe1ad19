"""Makes the Kafka consumers that belong to no group."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer

from streams.kafka.connection import consumer
from streams.kafka.fetch.records import install
from streams.settings import KafkaSettings

_FETCH_MAX_BYTES = 5 * 1024 * 1024


def isolation_level(*, committed: bool) -> str:
    """Kafka's name for a consumer's view of transactions.

    Args:
        committed: read only up to the first open transaction, without aborted records. For
            every topic that others write. Not for the topics that only routers write, where no
            writer uses transactions: a stranger's open transaction must not stop the log.
    """
    return "read_committed" if committed else "read_uncommitted"


def ungrouped_consumer(
    kafka: KafkaSettings, *, client_id: str, committed: bool, fetch_max_wait_ms: int
) -> AIOKafkaConsumer:
    """A consumer to which partitions are assigned by hand; it has to be started.

    Args:
        kafka: the brokers and the timeouts.
        client_id: how the connection appears in the broker's logs.
        committed: see :func:`isolation_level`.
        fetch_max_wait_ms: how long the broker may hold a fetch that finds no record.
    """
    install()
    return consumer(
        kafka,
        client_id=client_id,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level=isolation_level(committed=committed),
        max_partition_fetch_bytes=_FETCH_MAX_BYTES,
        fetch_max_wait_ms=fetch_max_wait_ms,
    )
