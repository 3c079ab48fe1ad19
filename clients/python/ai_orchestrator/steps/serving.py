"""``serve()``: one line that offers the declared steps until Ctrl-C or SIGTERM."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

from ai_orchestrator.steps.declaring import Steps

THREADS = 32
_F = TypeVar("_F", bound=Callable[..., Any])

_main = Steps()
_loading: ContextVar[Steps | None] = ContextVar("_loading", default=None)


def step(name: str) -> Callable[[_F], _F]:
    """Declare a function as a step of this program: see :meth:`Steps.step`."""
    return (_loading.get() or _main).step(name)


def serve(port: int = 9001, *, host: str = "127.0.0.1", grpc: bool = False) -> None:
    """Serve the declared steps until Ctrl-C or SIGTERM; print the address.

    Returns at once in a file that is loaded by another program, which then chooses the port.
    Calls that run are cancelled at the end; Python waits for plain functions that go on.

    Args:
        port: 0: a free one.
        host: on which the steps are offered.
        grpc: over gRPC, which streams chunks and needs the extra ``grpc``; otherwise over HTTP.

    Raises:
        OSError: the port is taken.
        ValueError: no step is declared.
    """
    if _loading.get() is not None:
        return
    if not _main.names:
        raise ValueError("no function is declared with @step")
    asyncio.run(_until_stopped(host, port, grpc))


@contextmanager
def collecting(steps: Steps) -> Iterator[None]:
    """While the context is entered, ``@step`` declares into these and ``serve()`` does nothing."""
    token = _loading.set(steps)
    try:
        yield
    finally:
        _loading.reset(token)


class _Server(Protocol):
    async def open(self, host: str, port: int) -> int: ...

    async def close(self) -> None: ...


@asynccontextmanager
async def serving(
    steps: Callable[[], Steps], *, host: str = "127.0.0.1", port: int = 0, grpc: bool = False
) -> AsyncIterator[str]:
    """Serve steps while the context is entered; the address, as the orchestrator takes it.

    Args:
        steps: asked for each call.
        host: as of :func:`serve`, like the others.
        port: 0: a free one.
        grpc: over gRPC.

    Raises:
        OSError: the port is taken.
    """
    executor = ThreadPoolExecutor(THREADS, thread_name_prefix="step")
    server: _Server
    if grpc:
        from ai_orchestrator.steps.grpc_server import GrpcSteps

        server = GrpcSteps(steps, executor)
    else:
        from ai_orchestrator.steps.http_server import HttpSteps

        server = HttpSteps(steps, executor)
    try:
        bound = await server.open(host, port)
        yield f"{'grpc' if grpc else 'http'}://{host}:{bound}"
    finally:
        await server.close()
        executor.shutdown(wait=False, cancel_futures=True)


async def _until_stopped(host: str, port: int, grpc: bool) -> None:
    async with serving(lambda: _main, host=host, port=port, grpc=grpc) as address:
        print(f"serving {', '.join(_main.names)} at {address}", flush=True)
        await stop_wanted()


async def stop_wanted() -> None:
    """Wait for Ctrl-C or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
