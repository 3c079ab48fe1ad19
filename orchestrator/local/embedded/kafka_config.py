"""The configuration of one small Kafka node: its ``server.properties`` and its JVM flags."""

JVM_FLAGS = (
    "-Xmx384m",
    "-XX:+UseSerialGC",
    # Only the quick compiler: a short-lived node starts in 4 s instead of 6 s and takes less
    # memory; the slow compiler would pay off only after minutes of load.
    "-XX:TieredStopAtLevel=1",
    "-Djava.awt.headless=true",
    "-Djava.net.preferIPv4Stack=true",
    "-Dfile.encoding=UTF-8",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
    # 300 lines of settings at each start would hide the cause of a failure.
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config=warn",
)

RECORD_BATCH_MAX_BYTES = 5 * 1024 * 1024
"""A record of 4 MiB (``task-events``, ``dlq.*``) with its batch, and a margin."""

_MIB = 1024 * 1024


def server_properties(*, port: int, controller_port: int) -> str:
    """The configuration of a single node that is broker and controller at once.

    It listens on 127.0.0.1 only, and keeps its data in ``data`` under its working
    directory: a relative name, because in ``log.dirs`` a comma separates directories.

    Args:
        port: the port of the listener for clients.
        controller_port: the port of the controller. It may differ from that of an earlier
            start: the only voter elects itself without a connection, and then takes the new
            address into the voter set.

    Source: Apache Kafka 4.3, "Broker Configs".
    """
    settings: dict[str, str | int] = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "listeners": f"CLIENT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"CLIENT://127.0.0.1:{port}",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "CLIENT",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller_port}",
        "log.dirs": "data",
        "auto.create.topics.enable": "false",
        "message.max.bytes": RECORD_BATCH_MAX_BYTES,
        "replica.fetch.max.bytes": RECORD_BATCH_MAX_BYTES,
        # Members join a group at once instead of after 3 s: `dev` and tests start them one by
        # one and would wait each time.
        "group.initial.rebalance.delay.ms": 0,
        # After a kill the controller refuses the new broker until the session of the dead one has
        # passed: 9 s by default. With a shorter one, a starved machine would lose its only broker
        # for a moment.
        "broker.session.timeout.ms": 4000,
        "broker.heartbeat.interval.ms": 1000,
        **_INTERNAL_TOPICS,
        **_SMALL,
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


_INTERNAL_TOPICS = {
    "offsets.topic.num.partitions": 4,
    "offsets.topic.replication.factor": 1,
    "transaction.state.log.num.partitions": 4,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "share.coordinator.state.topic.num.partitions": 4,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
}
"""One node cannot hold the default three replicas, and does not need 50 partitions."""

_SMALL = {
    "num.network.threads": 2,
    "num.io.threads": 4,
    "background.threads": 4,
    "group.coordinator.threads": 2,
    "num.recovery.threads.per.data.dir": 16,
    # A third of the heap by default; 16 MiB are 700,000 distinct keys in one cleaning.
    "log.cleaner.dedupe.buffer.size": 16 * _MIB,
    # The index files of each active segment are mapped at this size, for every partition.
    "log.index.size.max.bytes": 2 * _MIB,
}
"""Fewer threads and buffers than on a dedicated server."""
