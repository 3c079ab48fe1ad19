"""``orchestrator keys``: API keys."""

import os
import stat
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TextIO

import typer
from msgspec import UNSET

from orchestrator.api.access.caller import ANY_TENANT
from orchestrator.api.access.key_file import KeyLine, key_of
from orchestrator.api.access.key_store import add_key, read_key_file, revoke_key
from orchestrator.api.access.keys import key_hash, new_key
from orchestrator.api.access.rights import TENANT_SCOPES, Right
from orchestrator.cli import arguments
from orchestrator.cli.output import (
    Output,
    OutputOption,
    print_json,
    print_line,
    print_note,
    print_table,
)
from orchestrator.cli.times import iso
from schemas.limits import ID_PATTERN

app = typer.Typer(help="API keys.", no_args_is_help=True)

_ENTROPY_BYTES = 32
_ID_DIGITS = 8
_COLUMNS = ("id", "tenant", "scopes", "state", "expires at", "hash")

FileOption = Annotated[
    Path,
    typer.Option("--file", metavar="FILE", help="The file that ORCH_API_KEYS_FILE names."),
]


@app.command()
def new(
    tenant: Annotated[
        str,
        typer.Argument(help="The tenant whose tasks the key gives access to; with --file also *."),
    ],
    file: Annotated[
        Path | None,
        typer.Option(
            "--file",
            metavar="FILE",
            help="Append the key's hash to this file, which ORCH_API_KEYS_FILE names.",
        ),
    ] = None,
    scope: Annotated[
        list[Right] | None,
        typer.Option(
            "--scope",
            help="A right; give it again for another one. By default read and write.",
        ),
    ] = None,
    expires: Annotated[
        datetime | None,
        typer.Option(
            "--expires",
            parser=arguments.deadline,
            metavar="TIME",
            help="When the key ends: from now (90d, 12h), a day, or a time in RFC 3339.",
        ),
    ] = None,
    key_id: Annotated[
        str | None,
        typer.Option("--id", help="The key's name in the log; by default digits of its hash."),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a key. It is shown once; the configuration gets only its hash.

    Without `--file` the hash is printed for ORCH_API_KEYS: such a key reads and writes, without
    end.

    `-o json` prints one object: tenant, key, and setting, which belongs in ORCH_API_KEYS; with
    `--file` tenant, key and id.
    """
    key = new_key(os.urandom(_ENTROPY_BYTES))
    digest = key_hash(key)
    if file is None:
        if scope or expires or key_id:
            raise typer.BadParameter("--scope, --expires and --id need --file")
        if not ID_PATTERN.fullmatch(tenant):
            raise typer.BadParameter(f"TENANT must match {ID_PATTERN.pattern}")
        _show(key, {"tenant": tenant, "key": key, "setting": f"{tenant}:{digest}"}, output)
        return
    line = KeyLine(
        id=key_id or digest[:_ID_DIGITS],
        tenant=tenant,
        scopes=sorted(scope or TENANT_SCOPES),
        hash=digest,
        expires_at=UNSET if expires is None else expires,
    )
    try:
        key_of(line)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    add_key(file, line)
    _show(key, {"tenant": tenant, "key": key, "id": line.id}, output)


@app.command("list")
def list_keys(file: FileOption, output: OutputOption = Output.TABLE) -> None:
    """Show the keys of a file, with the first digits of their hashes.

    `-o json` prints one object a line: id, tenant, scopes, state (valid, expired or revoked),
    expires_at, revoked_at and hash, of which only the first digits are shown.
    """
    now, rows = datetime.now(UTC), []
    for line in read_key_file(file):
        expires = None if line.expires_at is UNSET else line.expires_at
        revoked = None if line.revoked_at is UNSET else line.revoked_at
        state = "revoked" if revoked else "expired" if expires and expires <= now else "valid"
        begin = f"{line.hash[:_ID_DIGITS]}..."
        if output is Output.JSON:
            print_json(
                {
                    "id": line.id,
                    "tenant": line.tenant,
                    "scopes": line.scopes,
                    "state": state,
                    "expires_at": iso(expires),
                    "revoked_at": iso(revoked),
                    "hash": begin,
                }
            )
        tenant = "* (all)" if line.tenant == ANY_TENANT else line.tenant
        rows.append((line.id, tenant, " ".join(line.scopes), state, iso(expires), begin))
    if output is not Output.JSON:
        print_table(_COLUMNS, rows, output=output)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as list shows it.")],
    file: FileOption,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take a key back. Services that read the file refuse it from the next call on.

    The open streams of the key end. The line stays, so that the log's ids can be explained.

    `-o json` prints one object: id, and revoked, which is false if it was revoked before.
    """
    done = revoke_key(file, key_id, datetime.now(UTC))
    if output is Output.JSON:
        print_json({"id": key_id, "revoked": done})
    else:
        print_line(f"{key_id} revoked" if done else f"{key_id} was revoked before")


def _show(key: str, made: dict[str, str], output: Output) -> None:
    if _others_can_read(sys.stdout):
        print_note("note: others can read the file with the key: chmod 600, or umask 077 before")
    if output is Output.JSON:
        print_json(made)
        return
    print_line(f"key (give it to the caller, it is not kept):  {key}")
    if "setting" in made:
        print_line(f"add to ORCH_API_KEYS (commas between them):   {made['setting']}")
    else:
        print_line(f"id (for `orchestrator keys revoke`):          {made['id']}")


def _others_can_read(output: TextIO) -> bool:
    try:
        mode = os.fstat(output.fileno()).st_mode
    except (OSError, ValueError):
        return False  # a stream of a test, or none
    return stat.S_ISREG(mode) and bool(mode & (stat.S_IRGRP | stat.S_IROTH))
