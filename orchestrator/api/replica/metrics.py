"""How large the memory of a replica is, and how far it is behind the logs."""

from prometheus_client import Gauge

REPLICA_LAG = Gauge(
    "orchestrator_replica_lag_records",
    "Records of a log that this replica of the service has not read yet.",
    ["topic"],
)
REPLICA_TASKS = Gauge(
    "orchestrator_replica_tasks", "Tasks in the memory of this replica of the service."
)
