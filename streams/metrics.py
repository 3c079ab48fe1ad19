"""What this process counts, for Prometheus. Labels have few values: never an id."""

from prometheus_client import Counter, Gauge, Histogram

RECORDS = Counter(
    "orchestrator_records_total",
    "Records taken, by topic and outcome.",
    ["topic", "outcome"],
)
EVENTS = Counter("orchestrator_task_events_total", "Events appended to the log.", ["kind"])
DEAD_LETTERS = Counter(
    "orchestrator_dead_letters_total", "Dead letters written.", ["topic", "code"]
)
UNREADABLE = Counter(
    "orchestrator_unreadable_records_total",
    "Offsets of records that could not be taken out of their batch, by topic and code.",
    ["topic", "code"],
)
MISSING = Counter(
    "orchestrator_records_missing_total",
    "Records that were removed from a topic before the group read them.",
    ["topic"],
)
HELD_UP = Gauge(
    "orchestrator_uncommitted_records",
    "Offsets behind the beginning of a transaction that has not ended: nobody reads them yet.",
    ["topic", "partition"],
)
TAKEOVERS = Counter("orchestrator_takeovers_total", "Partitions taken over by this process.")
TASKS_IN_MEMORY = Gauge(
    "orchestrator_tasks_in_memory", "Tasks that an owner remembers.", ["partition"]
)
SNAPSHOTS = Counter("orchestrator_snapshots_total", "Task states written to task-state.")
IN_FLIGHT = Gauge("orchestrator_in_flight", "Deliveries that this process works on.")
SLOTS = Gauge(
    "orchestrator_slots", "Deliveries that this process may work on; fewer while it is late."
)
LOOP_DELAY_SECONDS = Gauge(
    "orchestrator_event_loop_delay_seconds", "How late the event loop was with its last timer."
)
BUFFERED = Gauge(
    "orchestrator_buffered", "Deliveries that were read and wait for a slot.", ["topic"]
)
COPIES = Counter(
    "orchestrator_step_copies_total",
    "Second copies of a command that cost no second call: answered from memory, or joined.",
    ["step", "how"],
)
STOPPED = Counter(
    "orchestrator_steps_stopped_total",
    "Commands that a control record ended: aborted while they ran, or dropped before.",
    ["step", "how"],
)
CANCELS_IN_MEMORY = Gauge(
    "orchestrator_cancels_in_memory", "Tasks whose cancellation this process remembers."
)
ANSWERS_IN_MEMORY_BYTES = Gauge(
    "orchestrator_answers_in_memory_bytes", "Results kept for second copies of their commands."
)
FLOOD_PAUSED = Gauge(
    "orchestrator_flood_guard_paused",
    "1 while a service is asked by probes only, as most of it ended as dead letters.",
    ["service"],
)
STEP_SECONDS = Histogram(
    "orchestrator_step_duration_seconds",
    "Duration of a downstream call, by step and outcome.",
    ["step", "outcome"],
)
"""Default buckets: 5 ms to 10 s; a generation that takes longer counts as +Inf."""
