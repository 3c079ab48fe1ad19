"""A process that cannot end is ended, with the code of its result."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

_HANGS = """
import threading
from streams.runtime.run import exit_after
exit_after(0.2, code=7)
threading.Event().wait()
"""
_ENDS = """
from streams.runtime.run import exit_after
exit_after(3600, code=7).cancel()
"""


def test_a_process_that_hangs_ends_with_the_code_that_its_run_had() -> None:
    ended = subprocess.run([sys.executable, "-c", _HANGS], timeout=60, check=False)

    assert ended.returncode == 7


def test_a_process_that_ends_in_time_is_not_ended_by_force() -> None:
    ended = subprocess.run([sys.executable, "-c", _ENDS], timeout=60, check=False)

    assert ended.returncode == 0
