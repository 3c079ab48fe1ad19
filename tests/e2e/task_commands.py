"""The command line as a user of a running system has it, by the service or without it."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import grpc

from tests.commands import Ended, run_command
from tests.e2e.driving import WAIT_S, Running

QUESTION = json.dumps({"query": "What is a dead letter?"})
CREATE = ("task", "create", "--type", "rag", "--input", QUESTION)


@dataclass(frozen=True)
class Commands:
    """The command line of a user: with the addresses of the servers, or that of the service."""

    running: Running
    direct: bool

    @classmethod
    async def by_the_service(cls, running: Running) -> "Commands":
        """Of a user who knows nothing but the service, once that answers."""
        address = running.system.grpc_address
        async with grpc.aio.insecure_channel(address) as channel, asyncio.timeout(WAIT_S):
            await channel.channel_ready()
        return cls(running, direct=False)

    @property
    def environment(self) -> dict[str, str]:
        """What this user knows of the system."""
        system = self.running.system
        if not self.direct:
            return {"ORCH_API_SERVER": system.grpc_address}
        return {
            "ORCH_KAFKA_BOOTSTRAP": system.settings.kafka.bootstrap,
            "ORCH_POSTGRES_DSN": system.settings.postgres.dsn,
        }

    async def run(self, *arguments: str, given: str = "", **environment: str) -> Ended:
        """Run a command."""
        way = ("--direct",) if self.direct and arguments[0] == "task" else ()
        variables = {**self.environment, **environment}
        return await asyncio.to_thread(run_command, (*arguments, *way), variables, given=given)

    async def created(self, *arguments: str) -> str:
        """Create a task; return its id."""
        ended = await self.run(*CREATE, *arguments, "-o", "json")
        assert ended.status == 0, ended.err
        return str(ended.document["id"])

    async def ordered(self, *arguments: str) -> Any:
        """Give an order that is carried out; return its answer."""
        ended = await self.run("task", *arguments, "-o", "json", "--wait-s", "60")
        assert ended.status == 0, ended.err
        return ended.document["answer"]

    async def view(self, task_id: str) -> Any:
        """The task as ``get`` shows it."""
        ended = await self.run("task", "get", task_id, "-o", "json")
        assert ended.status == 0, ended.err
        return ended.document
