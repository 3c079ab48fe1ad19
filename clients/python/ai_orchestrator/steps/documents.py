"""JSON in and out: typed by msgspec or pydantic, which need not be installed."""

import re
import sys
from typing import Any

import msgspec

from ai_orchestrator.steps.failure import CallFailedError, Kind

_QUOTED = re.compile(r"'[^']*'")


def read_input(text: bytes | str, wanted: Any) -> Any:
    """Read the input of a step as the type of its function's parameter.

    Args:
        text: JSON.
        wanted: a type that msgspec knows, or a pydantic model; ``Any`` for what JSON gives.

    Raises:
        CallFailedError: the input is not JSON, or of another form. The message quotes no value.
    """
    try:
        if _is_model(wanted):
            return wanted.model_validate(msgspec.json.decode(text))
        return msgspec.json.decode(text, type=wanted)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # ValidationError is a DecodeError: it names the place, and may quote a value.
        raise CallFailedError(Kind.INPUT, "INPUT_INVALID", _QUOTED.sub("…", str(error))) from None
    except ValueError as error:
        raise CallFailedError(Kind.INPUT, "INPUT_INVALID", _places(error)) from None


def write_output(value: Any) -> bytes:
    """Write what a step returned as JSON.

    Raises:
        CallFailedError: it has no JSON.
    """
    try:
        return msgspec.json.encode(value, enc_hook=_dump)
    except (TypeError, ValueError, NotImplementedError, RecursionError) as error:
        said = f"the output is not JSON ({type(error).__name__})"
        raise CallFailedError(Kind.OUTPUT, "OUTPUT_INVALID", said) from error


def _is_model(wanted: Any) -> bool:
    """Whether it is a pydantic model; if pydantic was never imported, it is not."""
    pydantic: Any = sys.modules.get("pydantic")
    return (
        pydantic is not None and isinstance(wanted, type) and issubclass(wanted, pydantic.BaseModel)
    )


def _dump(value: Any) -> Any:
    if _is_model(type(value)):
        return value.model_dump(mode="json")
    raise NotImplementedError(type(value).__name__)


def _places(error: ValueError) -> str:
    """Where the faults of pydantic are, and of which type."""
    faults: list[Any] = getattr(error, "errors", list)()
    named = [f"{'.'.join(map(str, fault['loc']))}: {fault['type']}" for fault in faults[:5]]
    return "; ".join(named) or "the input is invalid"
