"""Runs commands of the command line inside of this process: to start one takes seconds."""

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.cli.app import run

_ALONE = {"COLUMNS": "240", "ORCH_DEV_FIND": "false", "ORCH_API_SERVER": "127.0.0.1:1"}
"""Also with a system of somebody else on this machine."""


@dataclass(frozen=True)
class Ended:
    """What a command leaves: exit status, standard output, standard error."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """What was printed as JSON: one line."""
        return json.loads(self.out)

    @property
    def documents(self) -> list[Any]:
        """The same, of several lines."""
        return [json.loads(line) for line in self.out.splitlines()]


def run_command(
    arguments: Sequence[str], environment: Mapping[str, str], *, given: str = ""
) -> Ended:
    """Run a command with these ``ORCH_*`` variables; ``given`` is its standard input.

    One at a time: arguments, environment and streams belong to the process. Without an
    ORCH_API_SERVER there is no service: the usual port may be that of somebody else's system.
    """
    out, err = io.StringIO(), io.StringIO()
    with (
        _arguments(["orchestrator", *arguments], given),
        _environment(
            {
                "COLUMNS": "240",
                "ORCH_DEV_FIND": "false",
                "ORCH_API_SERVER": "127.0.0.1:1",
                **environment,
            }
        ),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            run()
            status: object = 0
        except SystemExit as ended:
            status = ended.code or 0
    assert isinstance(status, int), status
    return Ended(status, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _arguments(arguments: list[str], given: str) -> Iterator[None]:
    before = sys.argv, sys.stdin
    sys.argv = arguments
    sys.stdin = io.TextIOWrapper(io.BytesIO(given.encode()))
    try:
        yield
    finally:
        sys.argv, sys.stdin = before


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    for name in [name for name in before if name.startswith("ORCH_")]:
        del os.environ[name]
    os.environ.update({name: value for name, value in variables.items() if value})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
