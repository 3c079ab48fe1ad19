"""The settings of the embedded servers: ``ORCH_EMBEDDED_<FIELD>``."""

import os
from dataclasses import dataclass
from pathlib import Path

DATA_FOLDER = ".orchestrator"
"""The usual name of the folder. It holds passwords, logs and data: it is closed to others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedSettings:
    """``ORCH_EMBEDDED_<FIELD>`` in the environment sets ``<field>``."""

    data_dir: Path = Path(DATA_FOLDER)
    """Holds the data, ports and logs of both servers; created if missing. To start from nothing,
    delete it while no process runs on it."""

    kafka_port: int | None = None
    """Port of Kafka on 127.0.0.1; a taken one stops the start. If unset, 9092 is used, or, if that
    is taken, the port of the last start or a free one. 0 does not try 9092."""

    postgres_port: int | None = None
    """Port of Postgres on 127.0.0.1, as ``kafka_port``. The port that is tried first is 5432."""

    start_timeout_s: float = 90.0
    """Each server must answer within this many seconds of its start, or the start fails.
    Fetching Kafka's jars, once for each machine, does not count."""

    cache_dir: str | None = None
    """Holds Kafka's jars (45 MB) and, for each Java, the archive of their classes (50 MB), for
    all data directories. By default ``ai-orchestrator`` in ``$XDG_CACHE_HOME``, otherwise in
    ``~/.cache``."""

    def __post_init__(self) -> None:
        for name in ("kafka_port", "postgres_port"):
            if not 0 <= (getattr(self, name) or 0) <= 65_535:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 to 65535")
        if self.kafka_port and self.kafka_port == self.postgres_port:
            raise ValueError(f"kafka_port and postgres_port are both {self.kafka_port}")
        if not 0 < self.start_timeout_s < float("inf"):
            raise ValueError(f"start_timeout_s is {self.start_timeout_s}; it must be positive")
        if self.cache_dir == "":
            raise ValueError("cache_dir is empty; leave it out for the default")

    @property
    def cache_path(self) -> Path:
        """``cache_dir``, or the default."""
        return Path(self.cache_dir).expanduser() if self.cache_dir else default_cache_path()


def default_cache_path() -> Path:
    """The cache of this user: ``ai-orchestrator`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.

    Source: XDG Base Directory Specification (a relative ``XDG_CACHE_HOME`` is ignored).
    """
    root = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not root.is_absolute():
        root = Path("~/.cache").expanduser()
    return root / "ai-orchestrator"
