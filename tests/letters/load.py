"""How much the dead-letter tests do: little by default, ``make test-dead-letters-full`` all."""

import os

FULL = os.environ.get("TEST_DEAD_LETTERS_FULL") == "1"
EACH = 500 if FULL else 60
"""Letters of each kind in the end-to-end test."""
RANDOM_RECORDS = 10_000 if FULL else 2_000
