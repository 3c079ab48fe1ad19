"""How Debian's Alertmanager is started where it is not installed."""

import shlex
from pathlib import Path

from tests.debian import ALERTMANAGER, a_program, unpacked

_INSTALLED = Path("/usr/share/prometheus/alertmanager")


def alertmanager_command() -> list[str | Path]:
    """The program, and what has to stand before it.

    Raises:
        PackageUnavailableError: it is not installed and could not be fetched.
    """
    program = a_program("prometheus-alertmanager", ALERTMANAGER)
    if _INSTALLED.exists():
        return [program]
    # Debian's reads its templates from there, whatever its settings say: a mount that only this
    # process sees puts the unpacked ones in their place.
    shares = shlex.quote(str(unpacked(ALERTMANAGER) / "usr/share"))
    script = f'mount --bind {shares} /usr/share && exec "$0" "$@"'
    enter = ("/usr/bin/unshare", "--user", "--map-root-user", "--mount")
    return [*enter, "/bin/sh", "-c", script, program]
