"""Settings of everything that talks to Postgres."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSettings:
    """``ORCH_POSTGRES_<FIELD>``."""

    dsn: str = field(default="", repr=False)  # holds the password: keep it out of logs
    """URI of the database, as libpq takes it, also with ``sslmode=verify-full&sslrootcert=FILE``. A
    direct connection, or a pooler in session mode: migrations hold an advisory lock of their
    session, and statements are prepared."""

    reader_dsn: str = field(default="", repr=False)  # holds a password, too
    """URI of the same database, or of a standby of it, for reads: lists and tasks of ``serve`` and
    of commands. Empty: ``dsn``. The sink, the index of dead letters and migrations use ``dsn``."""

    reader_pooler: bool = False
    """True if a pooler in transaction mode (pgbouncer) is behind the address for reads. Each read
    is then a transaction of its own with its settings, which costs two more round trips, and no
    statement is kept prepared."""

    pool_max_size: int = 4
    """Connections of one process. A writer uses one for each log partition that it writes at
    the same moment. All processes together must stay under the server's ``max_connections``
    (100 by default)."""

    connect_timeout_s: float = 5.0
    """Limit for opening a connection, and for waiting for a free one."""

    statement_timeout_ms: int = 10_000
    """The server ends a longer statement; the whole batch is rolled back and tried again. If this
    is too short for a large batch, the sink never gets past that batch."""

    lock_timeout_ms: int = 3_000
    """The server ends a statement that waits longer for a lock. This happens while another
    writer of the same log partition is still in its transaction."""

    operation_timeout_s: float = 30.0
    """Limit for one batch or one read on this side; it applies also when the network drops
    every packet. Must be above the statement timeout, because the server's own error is more
    specific."""

    hold_ms: int = 100
    """How long the sink keeps events that end no task, to write them with later ones: rows of
    running tasks are that much late. An event that ends a task is written at once, with all before
    it. 0: each event is written at once, which costs about twice the transactions at small
    rates."""

    counts_every_s: float = 5.0
    """How often the sink reads what it counted, for Prometheus: metrics of tasks, tokens and cost
    are at most this much behind the rows. Keep it below the interval of a scrape."""

    def __post_init__(self) -> None:
        if self.reader_dsn and not self.dsn:
            raise ValueError("reader_dsn is set without dsn")
        if self.pool_max_size < 1:
            raise ValueError(f"pool_max_size is {self.pool_max_size}; it must be at least 1")
        if not 0 <= self.hold_ms <= 10_000:
            raise ValueError(f"hold_ms is {self.hold_ms}; it must be 0 to 10000")
        for name in (
            "connect_timeout_s",
            "statement_timeout_ms",
            "lock_timeout_ms",
            "counts_every_s",
        ):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")
        if not self.statement_timeout_ms < self.operation_timeout_s * 1000 < float("inf"):
            raise ValueError("operation_timeout_s must be above statement_timeout_ms")
