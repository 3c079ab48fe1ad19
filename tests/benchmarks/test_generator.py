"""What the open loop sends, and how its latencies are told."""

from itertools import pairwise

import pytest

from benchmarks.harness.arrivals import poisson
from benchmarks.harness.quantile import quantile


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        pytest.param(0.5, 50, id="half of them are not above"),
        pytest.param(0.99, 99),
        pytest.param(0.999, 100, id="rounded up to one that was measured"),
        pytest.param(1.0, 100, id="the largest"),
    ],
)
def test_a_quantile_is_a_value_that_was_measured(share: float, expected: float) -> None:
    assert quantile(range(100, 0, -1), share) == expected


def test_a_quantile_of_one_value_is_that_value() -> None:
    assert quantile([7.0], 0.01) == 7.0


def test_both_engines_get_the_same_arrivals() -> None:
    assert poisson(50, 20, seed=50) == poisson(50, 20, seed=50)
    assert poisson(50, 20, seed=50) != poisson(50, 20, seed=51)


def test_arrivals_ascend_at_the_rate() -> None:
    times = poisson(200, 100, seed=1)

    assert times == sorted(times)
    assert len(times) == 20_000
    assert times[-1] == pytest.approx(100, rel=0.05)


def test_arrivals_are_not_evenly_spaced() -> None:
    times = poisson(100, 100, seed=1)

    gaps = [after - before for before, after in pairwise(times)]
    mean = sum(gaps) / len(gaps)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    # Of an exponential distribution the two are the same.
    assert spread == pytest.approx(mean, rel=0.1)
