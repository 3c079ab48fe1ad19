"""``orchestrator keys``: API keys."""

import os
from typing import Annotated

import typer

from orchestrator.api.access.keys import key_hash, new_key
from orchestrator.cli.output import Output, OutputOption, print_json
from schemas.limits import ID_PATTERN

app = typer.Typer(help="API keys.", no_args_is_help=True)

_ENTROPY_BYTES = 32


@app.command()
def new(
    tenant: Annotated[str, typer.Argument(help="The tenant whose tasks the key gives access to.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a key. It is shown once; the configuration gets only its hash.

    `-o json` prints one object: tenant, key, and setting, which belongs in ORCH_API_KEYS.
    """
    if not ID_PATTERN.fullmatch(tenant):
        raise typer.BadParameter(f"TENANT must match {ID_PATTERN.pattern}")
    key = new_key(os.urandom(_ENTROPY_BYTES))
    setting = f"{tenant}:{key_hash(key)}"
    if output is Output.JSON:
        print_json({"tenant": tenant, "key": key, "setting": setting})
        return
    print(f"key (give it to the caller, it is not kept):  {key}")
    print(f"add to ORCH_API_KEYS (commas between them):   {setting}")


@app.callback()
def _keys() -> None:
    """Keep ``new`` a command of its own."""
