"""A calculator for foreign expressions: the four operations, //, %, ** and brackets.

The text is parsed, never evaluated as Python; each step is checked before it is taken, so
that no input can take long or use much memory.
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType

from schemas.errors import OrchestratorError

EXPRESSION_MAX_CHARS = 200
MAGNITUDE_MAX = 10**30
"""Limit of every intermediate result; an exponent is limited to its number of digits."""

Number = int | float


class CalculationError(OrchestratorError):
    """The expression has no result; the message says why."""

    code = "CALCULATION_FAILED"


def calculate(expression: str) -> Number:
    """The value of an expression; whole results are ``int``, others rounded to 12 digits.

    Raises:
        CalculationError: it is too long, not an expression, divides by zero, or grows too large.
    """
    if len(expression) > EXPRESSION_MAX_CHARS:
        raise CalculationError(f"longer than {EXPRESSION_MAX_CHARS} characters")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CalculationError("this is not an expression") from error
    value = _value(tree.body)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) else float(f"{value:.12g}")


def _value(node: ast.expr) -> Number:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return _checked(number)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            return _binary(type(op), _value(left), _value(right))
    raise CalculationError("only numbers, + - * / // % ** and brackets are allowed")


def _binary(op: type[ast.operator], left: Number, right: Number) -> Number:
    # Checked first: 9 ** 9 ** 9 would fill the memory.
    if op is ast.Pow and abs(right) * math.log10(max(abs(left), 10)) > 30:
        raise CalculationError("the power is too large")
    try:
        value = _OPERATIONS[op](left, right)
    except ZeroDivisionError as error:
        raise CalculationError("division by zero") from error
    except OverflowError as error:
        raise CalculationError("the result is too large") from error
    if isinstance(value, complex):
        raise CalculationError("the result is not real")
    return _checked(value)


def _checked(value: Number) -> Number:
    if not -MAGNITUDE_MAX <= value <= MAGNITUDE_MAX:  # also false for NaN
        raise CalculationError("the result is too large")
    return value


_OPERATIONS: Mapping[type[ast.operator], Callable[[Number, Number], Number]] = MappingProxyType(
    {
        ast.Add: operator.add,
        ast.Sub: operator.sub,
        ast.Mult: operator.mul,
        ast.Div: operator.truediv,
        ast.FloorDiv: operator.floordiv,
        ast.Mod: operator.mod,
        ast.Pow: operator.pow,
    }
)
