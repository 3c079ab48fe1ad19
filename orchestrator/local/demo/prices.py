"""The prices of calls of the reference model: integers throughout, never a float."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_TOKENS_PER_UNIT = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Micro-USD for one million tokens, the unit in which providers publish prices."""

    input_micros: int
    output_micros: int


PRICES: Mapping[str, Price] = MappingProxyType(
    {
        # 0.15 USD and 0.60 USD for a million tokens: what a small hosted model costs.
        "extractive-1": Price(input_micros=150_000, output_micros=600_000),
    }
)


def cost_micros(model: str, *, input_tokens: int, output_tokens: int) -> int:
    """The price of a call in micro-USD, rounded up: a call with tokens is never free."""
    price = PRICES[model]
    total = input_tokens * price.input_micros + output_tokens * price.output_micros
    return -(-total // _TOKENS_PER_UNIT)
