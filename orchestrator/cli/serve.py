"""``orchestrator serve``: the service for callers that do not use Kafka."""

import asyncio

from orchestrator.api.server import serve as run_service
from orchestrator.cli.environment import command_settings
from orchestrator.log_level import switch_level_on_signal
from orchestrator.logs import set_up_logs
from orchestrator.monitoring.endpoint import monitored
from orchestrator.monitoring.group_lag import watched_groups
from orchestrator.settings import Settings
from orchestrator.traces import exported_traces
from streams.garbage import look_for_cycles_rarely
from streams.health import Health
from streams.stop_signals import stop_signals

_ROLE = "serve"


def serve() -> None:
    """Serve gRPC (ORCH_API_GRPC_PORT) and HTTP (ORCH_API_HTTP_PORT) until SIGTERM or Ctrl-C.

    Several can run side by side, behind any load balancer: each sees all tasks.
    """
    settings = command_settings()
    set_up_logs(settings.log, role=_ROLE)
    switch_level_on_signal(settings.log.level)
    health = Health()
    look_for_cycles_rarely()
    with (
        monitored(settings.metrics, health, role=_ROLE),
        exported_traces(settings.traces, role=_ROLE),
        asyncio.Runner(loop_factory=_loop_factory()) as runner,
    ):
        runner.run(_serve(settings, health))


async def _serve(settings: Settings, health: Health) -> None:
    with stop_signals() as stopping:
        async with health.beating(), watched_groups(settings):
            await run_service(settings, stopping, health)


def _loop_factory() -> "type[asyncio.AbstractEventLoop] | None":
    """uvloop if it is installed: a third less CPU for a call."""
    try:
        import uvloop
    except ImportError:  # Windows
        return None
    return uvloop.Loop
