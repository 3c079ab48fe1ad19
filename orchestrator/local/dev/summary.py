"""The summary of ``dev`` when everything runs: addresses, files and commands to try."""

import json
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from orchestrator.local.dev.demo_tasks import DEMONSTRATION_TENANT
from orchestrator.local.dev.notices import Terminal, shown_path
from orchestrator.local.dev.system import System
from orchestrator.local.embedded.servers import Servers
from orchestrator.running.address import masked_dsn

_QUESTION = {"query": "What is a lane?"}
_DATA_DIR = "ORCH_EMBEDDED_DATA_DIR"
_EXAMPLE = Path("examples", "publish_task.py")


def show_summary(
    terminal: Terminal, system: System, servers: Servers, folder: Path, *, streams: bool = False
) -> None:
    """Print addresses, log files, and commands that can be pasted into another terminal.

    With ``streams``, the first task is one whose answer is worth watching as it grows.
    """
    terminal.line()
    for name, text in (
        ("HTTP", f"http://{system.http_address}"),
        ("gRPC", system.grpc_address),
        ("Kafka", system.settings.kafka.bootstrap),
        ("Postgres", masked_dsn(system.settings.postgres.dsn)),
        ("Demo", f"tasks of the tenant {DEMONSTRATION_TENANT}; `task list --direct` shows them"),
        ("Data", shown_path(folder)),
        *(("Log", shown_path(path)) for path in _logs(system, servers)),
    ):
        terminal.line(f"  {name:9} {text}")
    terminal.line()
    variable = needed_variable(folder, os.environ)
    needs = "the first line is needed" if variable else "no variable has to be set"
    terminal.line(f"Try, in another terminal; {needs} there:")
    terminal.line()
    for command in [*variable, *_commands(system, streams=streams)]:
        terminal.line(f"  {command}")
    terminal.line()
    terminal.line("Ctrl-C stops everything; the data is kept.")


def needed_variable(folder: Path, environment: Mapping[str, str]) -> list[str]:
    """The line that a shell needs to find a data folder that is not the usual one. Pure."""
    if not environment.get(_DATA_DIR):
        return []
    return [f"export {_DATA_DIR}={shlex.quote(str(folder))}"]


def program() -> str:
    """The command that runs this program from the current folder."""
    if sys.argv[0].endswith("__main__.py"):
        return f"{shlex.quote(shown_path(sys.executable))} -m orchestrator"
    return shlex.quote(shown_path(sys.argv[0]) if "/" in sys.argv[0] else sys.argv[0])


def _logs(system: System, servers: Servers) -> list[Path]:
    ours = [server.log_path for server in (servers.kafka, servers.postgres) if server is not None]
    return [*ours, system.logs / "*.log"]


def _commands(system: System, *, streams: bool) -> list[str]:
    """Commands, calls over HTTP and gRPC, and a program of an upstream service."""
    called, question = program(), json.dumps(_QUESTION)
    waits = "--stream" if streams else "--wait"
    body = json.dumps({"type": "rag", "input": _QUESTION})
    message = json.dumps({"type": "rag", "input": question})
    json_type = "'Content-Type: application/json'"
    example = f"{shown_path(sys.executable)} {_EXAMPLE} 'What is a lane?'"
    return [
        f"{called} status",
        f"{called} task create --type rag {waits} \\\n    --input '{question}'",
        f"{called} task list",
        f"{called} tail task-events --from-start --until-end",
        f"{called} dlq list",
        *([example] if _EXAMPLE.exists() else []),
        f"curl -sS http://{system.http_address}/api/v1/tasks:execute \\\n"
        f"    -H {json_type} \\\n    -d '{body}'",
        f"grpcurl -plaintext \\\n    -d '{message}' \\\n    {system.grpc_address} "
        "orchestrator.v1.Orchestrator/CreateAndExecuteTask",
        f'eval "$({called} env)"',
    ]
