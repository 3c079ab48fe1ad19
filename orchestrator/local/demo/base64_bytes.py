"""Binary input inside JSON."""

import base64
import binascii

from orchestrator.local.demo.answer import BadInputError


def decode(text: str, *, what: str) -> bytes:
    """Read base64 (RFC 4648, with padding, without line breaks).

    Raises:
        BadInputError: ``<WHAT>_NOT_BASE64``, or ``<WHAT>_EMPTY``.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadInputError(f"{what.upper()}_NOT_BASE64", f"{what} is not base64") from error
    if not data:
        raise BadInputError(f"{what.upper()}_EMPTY", f"{what} is empty")
    return data
