"""How much the dead-letter tests do: little by default, all of it in ``make dead-letters``."""

import os

FULL = os.environ.get("DEAD_LETTERS") == "full"
EACH = 500 if FULL else 20
"""Letters of each kind in the end-to-end test."""
RANDOM_RECORDS = 10_000 if FULL else 2_000
