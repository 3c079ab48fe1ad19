"""A worker that could no longer hear of cancels ends."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from agents.steps.control import ControlFollower
from streams.settings import KafkaSettings

FAULT = RuntimeError("a bug")


class Broken(ControlFollower):
    """Fails when it begins to follow."""

    def _reader(self) -> Any:
        return contextlib.nullcontext()

    async def _catch_up(self, reader: Any) -> None:
        """There is nothing to read."""

    async def _follow(self) -> None:
        raise FAULT


async def test_an_error_of_the_follower_is_told_to_its_process() -> None:
    told = asyncio.get_running_loop().create_future()
    follower = Broken(
        KafkaSettings(bootstrap="127.0.0.1:1"), "t", print, client_id="t", max_bytes=1
    )
    follower.on_failure = told.set_result
    async with follower:
        assert await asyncio.wait_for(told, 5) is FAULT
