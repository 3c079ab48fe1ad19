"""A port that another program has is said before anything else is waited for."""

import asyncio
import socket

import pytest

from orchestrator.api.server import open_service
from orchestrator.settings import load_settings
from schemas.errors import SettingsError


@pytest.mark.parametrize("which", ["HTTP", "GRPC"])
async def test_a_taken_port_stops_the_start_at_once_with_the_name_of_its_setting(
    which: str,
) -> None:
    variables = {
        # No broker answers there: a start that got so far would wait for one.
        "ORCH_KAFKA_BOOTSTRAP": "127.0.0.1:1",
        "ORCH_API_HTTP_PORT": "0",
        "ORCH_API_GRPC_PORT": "0",
    }
    with socket.create_server(("127.0.0.1", 0)) as taken:
        name, port = f"ORCH_API_{which}_PORT", str(taken.getsockname()[1])
        settings = load_settings({**variables, name: port})

        async with asyncio.timeout(10):
            with pytest.raises(SettingsError, match=f"{name}: {port} on 127.0.0.1: Address"):
                async with open_service(settings):
                    pass
