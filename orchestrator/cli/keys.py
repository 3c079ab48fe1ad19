"""``orchestrator keys``: API keys."""

import os
from typing import Annotated

import typer

from orchestrator.api.access import key_hash, new_key
from schemas.errors import SettingsError
from schemas.limits import ID_PATTERN

app = typer.Typer(help="API keys.", no_args_is_help=True)

_ENTROPY_BYTES = 32


@app.command()
def new(
    tenant: Annotated[str, typer.Argument(help="Whose key it is.")],
) -> None:
    """Make a key. It is shown once; the configuration gets its hash only."""
    if not ID_PATTERN.fullmatch(tenant):
        raise SettingsError(f"TENANT must match {ID_PATTERN.pattern}")
    key = new_key(os.urandom(_ENTROPY_BYTES))
    print(f"key (give it to the caller, it is not kept):  {key}")
    print(f"add to ORCH_API_KEYS (commas between them):   {tenant}:{key_hash(key)}")


@app.callback()
def _keys() -> None:
    """Keep ``new`` a command of its own."""
