"""The address of a model service: where its API is, and which models answer. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

MODEL_SCHEMES = ("openai+http", "openai+https")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/@-]{0,199}")
_MODELS_MAX = 8


@dataclass(frozen=True, slots=True)
class ModelAddress:
    """``openai+https://host:port/v1?model=first|second``."""

    url: str
    """``http(s)://host:port/v1``, without a slash at the end."""
    models: tuple[str, ...]
    """In the order in which they are asked: the next one when one fails."""


def parse_address(text: str) -> ModelAddress:
    """Read an address.

    Raises:
        ValueError: it is not one; the message does not quote it, for it may hold a password.
    """
    parts = urlsplit(text)
    if (
        parts.scheme not in MODEL_SCHEMES
        or not parts.hostname
        or "@" in parts.netloc
        or parts.fragment
    ):
        raise ValueError("it must be openai+http(s)://host:port/v1?model=NAME")
    query = parse_qs(parts.query, keep_blank_values=True)
    models = tuple("|".join(query.pop("model", [])).split("|"))
    if query:
        raise ValueError("its query may have model only")
    if not all(map(_MODEL.fullmatch, models)) or len(models) > _MODELS_MAX:
        raise ValueError(f"it must name 1 to {_MODELS_MAX} models: ?model=NAME|NAME")
    scheme = parts.scheme.removeprefix("openai+")
    return ModelAddress(f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}", models)
