"""Settings of the metrics and of the health of a process."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """``ORCH_METRICS_<FIELD>``: the endpoint of each role and of ``serve``."""

    enabled: bool = True
    """Whether the process serves ``/metrics``, ``/healthz``, ``/readyz`` and ``/startupz``."""

    host: str = "127.0.0.1"
    """The address on which it listens, without TLS and without a login. Metrics hold the names of
    tenants: on an address that others can reach, let a network policy admit Prometheus only."""

    port: int = 0
    """The port; 0: any free one, which is in the log and in ``targets_dir``. Each process on a
    machine needs a port of its own."""

    name: str = ""
    """The name of the process in its target, such as ``router.2``. Empty: role and process id."""

    targets_dir: Path | None = None
    """A folder in which the process writes its address while it runs, as ``NAME.json`` for
    Prometheus' ``file_sd_configs``. Unset: nothing is written."""

    lag_interval_s: float = 15.0
    """How often ``serve`` reads the positions of all consumer groups for their lag; 0: never."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise ValueError(f"port is {self.port}; it must be 0 to 65535")
        if not self.lag_interval_s >= 0:
            raise ValueError(f"lag_interval_s is {self.lag_interval_s}; it must be 0 or more")
        if "/" in self.name or self.name.startswith("."):
            raise ValueError(f"name is {self.name!r}; it must be the name of a file")
