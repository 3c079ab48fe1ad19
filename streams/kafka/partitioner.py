"""Which partition a key belongs to: the rule of the Java client's default partitioner."""

from aiokafka.partitioner import murmur2


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key: ``murmur2(key)`` without its sign bit, modulo ``partitions``.

    Source: Apache Kafka, ``BuiltInPartitioner.partitionForKey``.
    """
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)
