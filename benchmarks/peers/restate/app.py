"""Restate: a handler of two durable steps, served by hypercorn in two processes."""

import asyncio
import os
import sys
import time
import uuid
from pathlib import Path

import given
import httpx
import restate

INGRESS, ADMIN, SERVICE = (
    f"http://{given.address(name)}" for name in ("ingress", "admin", "service")
)
AT_ONCE = 64
FILLED_A_SECOND = 100
"""Fewer than one client submits; what is not submitted when it is due makes the run void."""
COUNT = (
    "SELECT count(*) AS n FROM sys_invocation"
    " WHERE status = 'completed' AND completion_result = 'success'"
)
bench = restate.Service("Bench")


async def first() -> str:
    """Step 1."""
    return given.FIRST


async def second() -> str:
    """Step 2."""
    return given.SECOND


@bench.handler()
async def run(ctx: restate.Context, payload: str) -> str:
    """Both steps, each in the journal before the next."""
    if await ctx.run_typed("first", first) != given.FIRST:
        raise restate.TerminalError("step 1")
    return await ctx.run_typed("second", second)


app = restate.app([bench])


def prepare() -> None:
    """Nothing: the service is registered when its workers run."""


async def fill() -> float:
    """Submit all tasks, due at one time, which is the answer (Unix time)."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        await _register(client)
        due = time.time() + 2 + given.TASKS / FILLED_A_SECOND
        ids: list[str] = []
        left = [str(uuid.uuid4()) for _ in range(given.TASKS)]

        async def submit() -> None:
            while left:
                key = left.pop()
                delay_ms = int((due - time.time()) * 1000)
                if delay_ms < 0:
                    sys.exit(f"void: {len(left) + 1} tasks were not submitted when they were due")
                answer = await client.post(
                    f"{INGRESS}/Bench/run/send",
                    params={"delay": f"{delay_ms}ms"},
                    json=given.INPUT,
                    headers={"idempotency-key": key},
                )
                ids.append(answer.raise_for_status().json()["invocationId"])

        await asyncio.gather(*(submit() for _ in range(AT_ONCE)))
    given.keep_ids(ids)
    return due


async def _register(client: httpx.AsyncClient) -> None:
    for _ in range(100):
        answer = await client.post(f"{ADMIN}/deployments", json={"uri": SERVICE})
        if answer.is_success:
            return
        await asyncio.sleep(0.2)
    sys.exit(f"the service could not be registered: {answer.text}")


def work() -> None:
    """Serve the handler until this process is ended."""
    hypercorn = Path(sys.executable).with_name("hypercorn")
    flags = ["--bind", given.address("service"), *given.SETTINGS["hypercorn"]]
    os.execv(hypercorn, [str(hypercorn), *flags, "app:app"])


def wait() -> None:
    """Until every invocation completed."""
    with httpx.Client(trust_env=False, timeout=30) as client:
        given.wait_for(lambda: _completed(client), given.TASKS)


def _completed(client: httpx.Client) -> int:
    answer = client.post(
        f"{ADMIN}/query", json={"query": COUNT}, headers={"accept": "application/json"}
    )
    time.sleep(0.4)  # A scan of all invocations: asked for every half second only.
    return int(answer.raise_for_status().json()["rows"][0]["n"])


async def read() -> int:
    """The result of each invocation, from the ingress; one that is not done has none."""
    ids = given.ids()
    right = 0
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        for chunk in given.chunks(ids):
            answers = await asyncio.gather(
                *(client.get(f"{INGRESS}/restate/invocation/{i}/output") for i in chunk)
            )
            right += sum(a.is_success and a.json() == given.SECOND for a in answers)
    return right


if __name__ == "__main__":
    given.run(
        {
            "prepare": prepare,
            "fill": lambda: asyncio.run(fill()),
            "work": work,
            "wait": wait,
            "read": lambda: asyncio.run(read()),
        }
    )
