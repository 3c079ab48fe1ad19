"""``orchestrator demo-services``: the reference services in this process."""

import asyncio
import os
import signal

from orchestrator.configuration.load import process_settings
from orchestrator.local.demo.server import ReferenceServices
from orchestrator.logs import set_up_logs


def demo_services() -> None:
    """Run the reference services, for `dev` and for tests."""
    settings = process_settings(os.environ)
    set_up_logs(settings.log, role="demo-services")

    async def serve() -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        async with ReferenceServices(settings.demo):
            await stopping.wait()

    asyncio.run(serve())
