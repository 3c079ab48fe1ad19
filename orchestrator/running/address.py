"""Addresses in a form that may be shown: without the password. Pure."""

from urllib.parse import SplitResult, urlsplit

_HIDDEN = "***"
_POSTGRES_PORT = 5432


def masked_dsn(dsn: str) -> str:
    """A libpq URI without its password and its parameters, which may hold one as well.

    A text that is not a URI (``host=... password=...``) is hidden as a whole.
    """
    parts = _split(dsn)
    if parts is None:
        return _HIDDEN
    account, at, host = parts.netloc.rpartition("@")
    user, colon, _ = account.partition(":")
    shown = f"{user}:{_HIDDEN}" if colon else user
    return f"{parts.scheme}://{shown}{at}{host}{parts.path}"


def dsn_address(dsn: str) -> str:
    """``HOST:PORT`` of a libpq URI; ``***`` for a text that is not one."""
    parts = _split(dsn)
    if parts is None:
        return _HIDDEN
    hosts = parts.netloc.rpartition("@")[2] or "127.0.0.1"
    return ",".join(
        host if host.rpartition(":")[2].isdigit() else f"{host}:{_POSTGRES_PORT}"
        for host in hosts.split(",")
    )


def _split(dsn: str) -> SplitResult | None:
    try:
        parts = urlsplit(dsn)
    except ValueError:
        return None
    return parts if parts.scheme in ("postgresql", "postgres") else None
