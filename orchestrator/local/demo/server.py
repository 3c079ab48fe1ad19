"""The reference services as real gRPC servers of the generic contract."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
import numpy as np
import structlog

from orchestrator.local.demo.agent_engine import AgentEngine
from orchestrator.local.demo.answer import LongMethod, Method
from orchestrator.local.demo.calls import CallLog
from orchestrator.local.demo.faults import Faults
from orchestrator.local.demo.multimodal_engine import extract
from orchestrator.local.demo.passages import load_passages
from orchestrator.local.demo.rag_engine import generate
from orchestrator.local.demo.retrieval import Retrieval
from orchestrator.local.demo.settings import DemoSettings
from orchestrator.local.demo.step_servicer import StepServicer
from orchestrator.local.demo.voice_engine import VoiceEngine
from schemas.gen.services.v1.step_service_pb2_grpc import add_StepServiceServicer_to_server

STOP_GRACE_S = 1.0
"""Seconds that running calls have when the servers stop; then they are cancelled."""

STOP_TIMEOUT_S = 5.0
"""Upper bound for the whole stop."""

_log = structlog.get_logger()


class ReferenceServices:
    """The five reference services, served while this context manager is entered.

    ``async with ReferenceServices(DemoSettings()) as services:`` Entering builds the index
    (some 10 ms) and binds the ports; leaving stops within ``STOP_TIMEOUT_S``. An instance can
    be entered once.

    Attributes:
        addresses: after entering, from each service (``retrieval``, ``rag_engine``,
            ``agent_engine``, ``voice_engine``, ``multimodal_engine``) to ``grpc://host:port``:
            the fields of ``ServicesSettings``.
        faults: the faults to apply; may be changed while serving.
        calls: the calls that came.

    Raises:
        OSError: on entering; a port is taken or the call log cannot be opened. Nothing is
            left running.
    """

    def __init__(self, settings: DemoSettings) -> None:
        self._settings = settings
        self._servers: list[grpc.aio.Server] = []
        self._executors: list[ThreadPoolExecutor] = []
        self.addresses: dict[str, str] = {}
        self.faults = Faults.parse(settings.faults)
        self.calls = CallLog()

    async def __aenter__(self) -> Self:
        settings = self._settings
        if settings.call_log:
            self.calls = CallLog(Path(settings.call_log))
        passages = load_passages(settings.docs_dir)
        vectors = None if settings.vectors_file is None else np.load(settings.vectors_file)
        retrieval = Retrieval(passages, vectors)
        # The model's own knowledge is the packaged corpus.
        learned = [passage for passage in passages if passage.id.startswith("corpus/")]
        answer = partial(generate, knowledge=Retrieval(learned).search)
        try:
            found = {"Retrieve": retrieval.retrieve, "Passages": retrieval.passages}
            await self._serve("retrieval", found)
            await self._serve("rag_engine", {"Generate": answer})
            await self._serve_long(
                "agent_engine", "RunAgent", AgentEngine(retrieval.search).run_agent
            )
            await self._serve_long("voice_engine", "Transcribe", VoiceEngine().transcribe)
            await self._serve_long("multimodal_engine", "Extract", extract)
        except BaseException:
            await self._stop()
            raise
        _log.info("demo_services_started", **self.addresses)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stop()

    async def _serve_long(self, service: str, name: str, method: LongMethod) -> None:
        """Serve a method that would block the event loop; one call at a time, in a thread."""
        executor = ThreadPoolExecutor(1, thread_name_prefix=service)
        self._executors.append(executor)
        await self._serve(service, {}, {name: method}, executor)

    async def _serve(
        self,
        service: str,
        methods: Mapping[str, Method],
        long_methods: Mapping[str, LongMethod] | None = None,
        executor: ThreadPoolExecutor | None = None,
    ) -> None:
        host, port = self._settings.host, getattr(self._settings, f"{service}_port")
        server = grpc.aio.server(options=_SERVER_OPTIONS)
        servicer = StepServicer(
            service,
            methods,
            long_methods=long_methods or {},
            executor=executor,
            faults=self.faults,
            calls=self.calls,
        )
        add_StepServiceServicer_to_server(servicer, server)
        try:
            bound = server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise OSError(f"{service}: cannot listen at {host}:{port}") from error
        await server.start()
        self._servers.append(server)
        self.addresses[service] = f"grpc://{host}:{bound}"

    async def _stop(self) -> None:
        servers, self._servers = self._servers, []
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S), asyncio.TaskGroup() as stopping:
                for server in servers:
                    stopping.create_task(server.stop(STOP_GRACE_S))
        except TimeoutError:
            _log.warning("demo_services_stop_timed_out", timeout_s=STOP_TIMEOUT_S)
        finally:
            for executor in self._executors:
                # Running calls were cancelled above: their threads end soon by themselves.
                executor.shutdown(wait=False, cancel_futures=True)
            self.calls.close()


_SERVER_OPTIONS = (
    # Otherwise two processes share a port, and each of them gets some of the calls.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
    # Clients may check a silent connection more often than every five minutes.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
)
