"""``python -m ai_orchestrator FILE``: serve the steps of a file, and take its changes."""

import argparse
import asyncio
import os
import sys
from pathlib import Path

from ai_orchestrator.steps.serving import serving, stop_wanted
from ai_orchestrator.steps.step_file import StepFile

_POLL_S = 0.3


def main() -> None:
    """Run until Ctrl-C or SIGTERM. The port opens with the first file that works."""
    parser = argparse.ArgumentParser(prog="python -m ai_orchestrator", description=main.__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9001, help="0: a free one")
    parser.add_argument("--grpc", action="store_true", help="over gRPC; otherwise over HTTP")
    arguments = parser.parse_args()
    if not arguments.file.is_file():
        parser.error(f"there is no file {arguments.file}")
    status = asyncio.run(_until_stopped(arguments))
    # A plain step that still runs would hold the end up: Python waits for its threads.
    os._exit(status)


async def _until_stopped(arguments: argparse.Namespace) -> int:
    # A module that is changed twice in a second would be taken from its old bytecode.
    sys.dont_write_bytecode = True
    running = asyncio.ensure_future(_serve_changes(arguments))
    stopping = asyncio.ensure_future(stop_wanted())
    await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
    for task in (running, stopping):
        task.cancel()
    ended, _ = await asyncio.gather(running, stopping, return_exceptions=True)
    if isinstance(ended, Exception):
        what = str(ended) if isinstance(ended, OSError | ImportError) else repr(ended)
        print(f"error: {what}", file=sys.stderr, flush=True)
        return 1
    return 0


async def _serve_changes(arguments: argparse.Namespace) -> None:
    file = StepFile(arguments.file)
    while not file.steps.names:
        await _look(file)
    served = serving(
        lambda: file.steps, host=arguments.host, port=arguments.port, grpc=arguments.grpc
    )
    async with served as address:
        print(f"serving {', '.join(file.steps.names)} at {address}", flush=True)
        while True:
            await _look(file)


async def _look(file: StepFile) -> None:
    said = file.look()
    if said is not None:
        print(said, flush=True)
    await asyncio.sleep(_POLL_S)


main()
