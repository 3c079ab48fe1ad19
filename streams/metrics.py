"""What this process counts, for Prometheus. Labels have few values: never an id."""

from prometheus_client import Counter, Gauge, Histogram

CALL_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
"""Upper bounds of durations that a call of an AI service decides: 10 ms to 10 min."""

BUILD = Gauge(
    "orchestrator_build_info",
    "Always 1; the labels say what runs.",
    ["version", "python", "role"],
)

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
IGNORED_EVENTS = Counter(
    "orchestrator_events_ignored_total",
    "Events of former owners in the log, which the sink ignored.",
)
TAKEOVERS = Counter("orchestrator_takeovers_total", "Partitions taken over by this process.")
TAKEOVER_SECONDS = Histogram(
    "orchestrator_takeover_duration_seconds",
    "Duration of a takeover, from reading snapshots to the first decision.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
)
OWNER_EPOCH = Gauge(
    "orchestrator_owner_epoch", "The epoch of a partition that this process owns.", ["partition"]
)
TASKS_IN_MEMORY = Gauge(
    "orchestrator_tasks_in_memory", "Tasks that an owner remembers, also ended ones.", ["partition"]
)
LIVE_TASKS = Gauge(
    "orchestrator_live_tasks",
    "Tasks that have not ended, by phase; of one owner.",
    ["partition", "phase"],
)
HELD_COMMANDS = Gauge(
    "orchestrator_held_commands", "Commands that wait for their task to be created.", ["partition"]
)
CLOCK_DIFFERENCE_SECONDS = Gauge(
    "orchestrator_clock_difference_seconds", "This machine's clock minus the broker's."
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
    "1 while a service is asked by probes only: most of its commands ended as dead letters.",
    ["service"],
)
BREAKER_OPEN = Gauge(
    "orchestrator_breaker_open",
    "1 while the commands of a service wait because most of its calls failed; a few probe it.",
    ["service"],
)
SERVICE_CALLS_MAX = Gauge(
    "orchestrator_service_calls_max",
    "Calls of a service that this process may make at once: its slots, or fewer while the service "
    "answers that there are too many.",
    ["service"],
)
THROTTLED_CALLS = Counter(
    "orchestrator_throttled_calls_total",
    "Calls that a service refused because there are too many. They cost no attempt.",
    ["service"],
)
RETRIES_HELD = Counter(
    "orchestrator_retries_held_total",
    "Times that a retry waited because too many of the calls of its service were retries.",
    ["service"],
)
HEDGES = Counter(
    "orchestrator_hedged_calls_total",
    "Second calls of a step beside a slow one, by which of them was answered first.",
    ["step", "first"],
)
SERVICE_ENDPOINTS = Gauge(
    "orchestrator_service_endpoints",
    "Endpoints of a service among which this process distributes its calls.",
    ["service"],
)
ENDPOINTS_LEFT_OUT = Counter(
    "orchestrator_service_endpoints_left_out_total",
    "Times that an endpoint of a service was left out for a while because its calls failed.",
    ["service"],
)
DISCOVERY_FAILURES = Counter(
    "orchestrator_discovery_failures_total",
    "Times that DNS or a registry gave no usable list of a service's endpoints. The last one "
    "stays in use.",
    ["service"],
)
MODEL_FALLBACKS = Counter(
    "orchestrator_model_fallbacks_total",
    "Times that a model failed and the next one of its service was asked.",
    ["service", "model"],
)
MODELS_UNPRICED = Counter(
    "orchestrator_model_calls_unpriced_total",
    "Calls of a model that has no price: they cost nothing in these figures.",
    ["service", "model"],
)
STEP_SECONDS = Histogram(
    "orchestrator_step_duration_seconds",
    "Duration of a downstream call, by step and outcome.",
    ["step", "outcome"],
    buckets=CALL_BUCKETS_S,
)
SINK_BATCH_EVENTS = Histogram(
    "orchestrator_sink_batch_events",
    "Events in a batch that the sink wrote.",
    buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2000),
)
SINK_DELAY_SECONDS = Histogram(
    "orchestrator_sink_delay_seconds",
    "Time from an event to its row, for the oldest event of a batch.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
)
SINK_WATERMARK_SECONDS = Gauge(
    "orchestrator_sink_watermark_timestamp_seconds",
    "Time of the last event of a partition that is in Postgres, in seconds since 1970.",
    ["partition"],
)
OPEN_LETTERS = Gauge(
    "orchestrator_open_letters", "Dead letters on which nobody has acted, by topic.", ["topic"]
)
OLDEST_OPEN_LETTER_SECONDS = Gauge(
    "orchestrator_oldest_open_letter_age_seconds",
    "Age of the oldest dead letter on which nobody has acted, by topic.",
    ["topic"],
)

_OF_ASSIGNED_PARTITIONS = (
    HELD_UP,
    HELD_COMMANDS,
    LIVE_TASKS,
    OWNER_EPOCH,
    SINK_WATERMARK_SECONDS,
    TASKS_IN_MEMORY,
)


def forget_partitions() -> None:
    """Drop what this process says about its partitions: another process may have them now."""
    for gauge in _OF_ASSIGNED_PARTITIONS:
        gauge.clear()
