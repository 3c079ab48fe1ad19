"""Makes the Kafka consumers that belong to no group."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer

from streams.kafka.fetch.records import install
from streams.settings import KafkaSettings

_FETCH_MAX_BYTES = 5 * 1024 * 1024


def isolation_level(*, committed: bool) -> str:
    """Kafka's name of what a consumer sees of transactions.

    Args:
        committed: read as far as all transactions have ended, and nothing of aborted ones. For
            every topic that others write. Not for the topics that only routers write, none of
            which uses transactions: a stranger's open transaction must not stop the log.
    """
    return "read_committed" if committed else "read_uncommitted"


def ungrouped_consumer(
    kafka: KafkaSettings, *, client_id: str, committed: bool, fetch_max_wait_ms: int
) -> AIOKafkaConsumer:
    """A consumer to which partitions are assigned by hand; it has to be started.

    Args:
        kafka: where.
        client_id: how the connection appears in the broker's logs.
        committed: see :func:`isolation_level`.
        fetch_max_wait_ms: how long the broker may keep a fetch that finds nothing.
    """
    install()
    return AIOKafkaConsumer(
        bootstrap_servers=kafka.servers,
        client_id=client_id,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level=isolation_level(committed=committed),
        max_partition_fetch_bytes=_FETCH_MAX_BYTES,
        fetch_max_wait_ms=fetch_max_wait_ms,
        request_timeout_ms=int(kafka.request_timeout_s * 1000),
    )
