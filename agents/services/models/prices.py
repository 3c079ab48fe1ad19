"""What models cost. Pure, but for reading the file.

ModelPrices are micro-USD for a million tokens, as integers: sums of them are exact.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import msgspec
from msgspec import Struct

from schemas.errors import SettingsError
from schemas.records import Usage

_MILLION = 1_000_000
_CHARS_PER_TOKEN = 4
"""For a guess where a server does not count."""


class ModelPrice(Struct, frozen=True, forbid_unknown_fields=True):
    """Micro-USD for a million tokens."""

    input: int
    output: int = 0

    def __post_init__(self) -> None:
        if self.input < 0 or self.output < 0:
            raise ValueError("a price is negative")


class ModelPrices(Struct, frozen=True, forbid_unknown_fields=True):
    """``prices.yaml``."""

    version: int
    """Raised at each change, so that it can be said which prices a figure was made with."""
    models: dict[str, ModelPrice]

    def cost_micros(self, model: str, input_tokens: int, output_tokens: int) -> int | None:
        """The cost in micro-USD, rounded up; None: the model has no price."""
        price = self.models.get(model)
        if price is None:
            return None
        millionths = input_tokens * price.input + output_tokens * price.output
        return -(-millionths // _MILLION)


def load_prices(file: Path | None) -> ModelPrices:
    """The prices of a file; None: those that come with the program.

    Raises:
        SettingsError: the file cannot be read, or is not a list of prices.
    """
    try:
        if file is None:
            text = resources.files(__package__).joinpath("prices.yaml").read_bytes()
        else:
            text = file.read_bytes()
        return msgspec.yaml.decode(text, type=ModelPrices)
    except (OSError, ValueError) as error:
        where = "prices.yaml" if file is None else f"ORCH_SERVICES_PRICES_FILE: {file}"
        raise SettingsError(f"{where}: {error}") from error


def usage_of(
    prices: ModelPrices,
    model: str,
    counted: tuple[int, int] | None,
    *,
    prompt_chars: int,
    answer_chars: int,
) -> Usage:
    """The usage of a call.

    Args:
        prices: the prices.
        model: which answered.
        counted: input and output tokens as the server counted them; None: it did not.
        prompt_chars: for a guess.
        answer_chars: for a guess.
    """
    tokens = counted or (-(-prompt_chars // _CHARS_PER_TOKEN), -(-answer_chars // _CHARS_PER_TOKEN))
    cost = prices.cost_micros(model, *tokens)
    return Usage(
        model=model,
        input_tokens=tokens[0],
        output_tokens=tokens[1],
        cost_micros=cost or 0,
        estimated=counted is None,
    )
