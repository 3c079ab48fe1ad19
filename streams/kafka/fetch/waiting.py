"""How long a broker may hold a fetch that finds no record."""

from typing import Any


def let_fetches_wait(consumer: Any, wait_ms: int) -> None:
    """Let the next fetches of a started consumer wait that long for their first record.

    A fetch that is on its way keeps its own time. Partitions that were left out of it, or are
    assigned meanwhile, wait for its end: long waits are for consumers that change nothing.

    Args:
        consumer: of aiokafka.
        wait_ms: milliseconds.
    """
    fetcher = consumer._fetcher
    if not hasattr(fetcher, "_fetch_max_wait_ms"):
        raise RuntimeError("aiokafka has no _fetch_max_wait_ms: check the pin")
    fetcher._fetch_max_wait_ms = wait_ms
