"""The calculator gives right results, and no input of others can do it harm."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.local.demo.calculator import MAGNITUDE_MAX, CalculationError, calculate


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("1 + 2 * 3", 7),
        ("(17 + 3) * 2.5", 50),
        ("7 // 2 - -1", 4),
        ("2 ** 10 % 1000", 24),
        ("1 / 8", 0.125),
        ("0.1 + 0.2", 0.3),
        ("-(3)", -3),
        ("-" * 199 + "1", -1),
    ],
)
def test_an_expression_has_its_value(expression: str, result: float) -> None:
    assert calculate(expression) == result


@pytest.mark.parametrize(
    "expression",
    [
        pytest.param("1 / 0", id="division by zero"),
        pytest.param("0 ** -1", id="a power of zero"),
        pytest.param("9 ** 9 ** 9", id="a power that fills the memory"),
        pytest.param("1e300 * 1e300", id="infinite"),
        pytest.param("(-8) ** 0.5", id="not real"),
        pytest.param("__import__('os').system('true')", id="a call"),
        pytest.param("x + 1", id="a name"),
        pytest.param("True + 1", id="a truth"),
        pytest.param("'a' * 9", id="a text"),
        pytest.param("1 << 99", id="a shift"),
        pytest.param("[1][0]", id="a list"),
        pytest.param("", id="nothing"),
        pytest.param("1 +", id="half of one"),
        pytest.param("1\0", id="NUL"),
        pytest.param("(" * 150, id="deep"),
        pytest.param("1" * 201, id="long"),
    ],
)
def test_what_has_no_value_is_refused(expression: str) -> None:
    with pytest.raises(CalculationError):
        calculate(expression)


@given(st.text("0123456789.+-*/%() e", max_size=60))
def test_any_text_has_a_bounded_value_or_is_refused_at_once(expression: str) -> None:
    began = time.monotonic()
    try:
        value = calculate(expression)
    except CalculationError:
        value = 0

    assert abs(value) <= MAGNITUDE_MAX
    assert time.monotonic() - began < 5
