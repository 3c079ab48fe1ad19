"""The form of a service's address."""

import re

from agents.services.discovery.address import is_shared, parse_shared
from agents.services.models.address import is_model, parse_address
from schemas.errors import SettingsError

_HOST = r"([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])"
_GRPC = re.compile(rf"grpcs?://{_HOST}:(?P<port>[0-9]{{1,5}})")
_HTTP = re.compile(rf"https?://{_HOST}(:(?P<port>[0-9]{{1,5}}))?(/[!-~]*)?")
_PYTHON = re.compile(r"python://[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def parsed_address(variable: str, address: str) -> tuple[str, str]:
    """The scheme of an address, and the argument of its client: a host, a URL, or a function.

    Of an address for several endpoints it is the whole address, see
    :func:`~agents.services.discovery.address.parse_shared`.

    Args:
        variable: where the address is from, for errors.
        address: see :class:`~agents.services.settings.ServicesSettings`.

    Raises:
        SettingsError: the address has another form. The message does not show a password.
    """
    scheme, _, target = address.partition("://")
    if _PYTHON.fullmatch(address):
        return scheme, target
    if is_model(address):
        try:
            parse_address(address)
        except ValueError as error:
            raise SettingsError(f"{variable} is {_shown(address)}; {error}") from None
        return scheme, address
    if is_shared(address):
        try:
            parse_shared(address)
        except ValueError as error:
            raise SettingsError(f"{variable} is {_shown(address)}; {error}") from None
        return scheme, address
    match = _GRPC.fullmatch(address) or _HTTP.fullmatch(address)
    if match is None:
        raise SettingsError(
            f"{variable} is {_shown(address)}; it must be grpc(s)://host:port, "
            "http(s)://host:port/path (with | between several hosts, or with dns+, srv+, consul+ "
            "or nacos+ before it), openai+http(s)://host:port/v1?model=NAME (with several hosts as "
            "above) or python://package.module:function"
        )
    if match["port"] is not None and not 1 <= int(match["port"]) <= 65535:
        raise SettingsError(f"{variable} is {_shown(address)}; the port must be 1 to 65535")
    return scheme, target if scheme in ("grpc", "grpcs") else address


def _shown(address: str) -> str:
    """The address for an error, without a user and a password."""
    return repr(re.sub(r"//[^/]*@", "//…@", address))
