"""Read task-events with confluent-kafka's Avro deserializer and a schema registry.

The system has to run with ``ORCH_SCHEMAS_REGISTRY_URL``: its values then carry the registry's
ids. Prints one JSON line for each event that counts.
"""

import json
import uuid

from accepted import Owner, accept
from confluent_kafka import Consumer, KafkaError
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from running import variable

TOPIC = variable("ORCH_TOPICS_PREFIX", "orchestrator.") + "task-events.v1"

deserialize = AvroDeserializer(SchemaRegistryClient({"url": variable("ORCH_SCHEMAS_REGISTRY_URL")}))
consumer = Consumer(
    {
        "bootstrap.servers": variable("ORCH_KAFKA_BOOTSTRAP"),
        "group.id": f"analysis-{uuid.uuid4()}",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
    }
)
partitions = set(consumer.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions)
consumer.subscribe([TOPIC])
owners: dict[int, Owner] = {}
while partitions:
    message = consumer.poll(timeout=30)
    if message is None:
        raise SystemExit("no broker answers")
    if message.error():
        if message.error().code() != KafkaError._PARTITION_EOF:
            raise SystemExit(str(message.error()))
        partitions.discard(message.partition())
        continue
    try:
        event = deserialize(message.value(), SerializationContext(TOPIC, MessageField.VALUE))
    except Exception:
        continue  # it is in the dead-letter topic
    if accept(owners, message.partition(), event):
        print(json.dumps({name: event[name] for name in ("task_id", "sequence", "kind")}))
consumer.close()
