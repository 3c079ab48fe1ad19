"""The address of a model service: where its API is, and which models answer. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qs, urlsplit

from agents.services.discovery.address import SharedAddress, is_shared, parse_shared
from agents.services.discovery.endpoint import Endpoint

_PREFIX = "openai+"
_SCHEMES = ("http", "https")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/@-]{0,199}")
_MODELS_MAX = 8
_BASE = re.compile(r"https?://([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[!-~]*)?")
_FORM = "it must be openai+http(s)://host:port/v1?model=NAME"


@dataclass(frozen=True, slots=True)
class ModelAddress:
    """``openai+https://host:port/v1?model=first|second``."""

    url: str
    """``http(s)://host:port/v1``, without a slash at the end; empty with several instances."""
    models: tuple[str, ...]
    """In the order in which they are asked: the next one when one fails."""
    shared: SharedAddress | None = None
    """The instances, if there may be several."""

    def of(self, endpoint: Endpoint) -> ModelAddress:
        """The address of one of several instances."""
        assert self.shared is not None
        return ModelAddress(self.shared.url(endpoint), self.models)


def is_model(address: str) -> bool:
    """Whether an address is meant for a model; it may still be wrong."""
    return address.startswith(_PREFIX)


def base_of(address: str) -> str:
    """The address of a model without what only models have; any other address as it is."""
    if not is_model(address):
        return address
    return address.removeprefix(_PREFIX).partition("?")[0].rstrip("/")


def parse_address(text: str) -> ModelAddress:
    """Read an address.

    With ``dns+``, ``srv+``, ``consul+`` or ``nacos+`` behind ``openai+``, or with ``|`` between
    hosts, it is that of several instances, as for any other service.

    Raises:
        ValueError: it is not one; the message does not quote it, for it may hold a password.
    """
    if not is_model(text) or "#" in text:
        raise ValueError(_FORM)
    base, models = base_of(text), _models(text.partition("?")[2])
    if is_shared(base):
        shared = parse_shared(base)
        if shared.transport not in _SCHEMES:
            raise ValueError("models speak HTTP: openai+dns+http://host:port/v1?model=NAME")
        return ModelAddress("", models, shared)
    parts = urlsplit(base)
    if not _BASE.fullmatch(base) or not _has_port(parts):
        raise ValueError(_FORM)
    return ModelAddress(base, models)


def _has_port(parts: SplitResult) -> bool:
    """Whether the port can be used; none is that of the scheme."""
    try:
        return parts.port != 0
    except ValueError:
        return False


def _models(query: str) -> tuple[str, ...]:
    given = parse_qs(query, keep_blank_values=True)
    models = tuple("|".join(given.pop("model", [])).split("|"))
    if given:
        raise ValueError("its query may have model only")
    if not all(map(_MODEL.fullmatch, models)) or len(models) > _MODELS_MAX:
        raise ValueError(f"it must name 1 to {_MODELS_MAX} models: ?model=NAME|NAME")
    return models
