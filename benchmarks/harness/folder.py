"""The folder of one measurement, gone afterwards."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def bench_folder(*, ignore_cleanup_errors: bool = False) -> Iterator[Path]:
    """An empty folder for logs and for the servers' data.

    Args:
        ignore_cleanup_errors: leave what cannot be removed.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=ignore_cleanup_errors) as name:
        # Postgres' account has to pass through when root runs this.
        Path(name).chmod(0o711)
        yield Path(name)
