"""The Docker engine of this machine, by its command line."""

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from testcontainers.core.docker_client import DockerClient

_PACKAGED_COMPOSE = Path(sys.executable).with_name("docker-compose")


class DockerFailedError(Exception):
    """A program ended with an error; the message is what it wrote."""


async def run_program(
    *command: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float = 900.0,
) -> str:
    """What a program writes to standard output.

    Raises:
        DockerFailedError: it ended with an error, or not in time.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate()
    except TimeoutError:
        raise DockerFailedError(f"{command} did not end within {timeout_s} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise DockerFailedError(f"{command}: {out.decode()}{err.decode()}")
    return out.decode()


async def compose_environment(folder: Path) -> dict[str, str]:
    """Variables with which `docker compose` is there, also where its plugin is not installed.

    Args:
        folder: for a configuration of Docker that knows the plugin of a Python package.
    """
    try:
        await run_program("docker", "compose", "version")
    except DockerFailedError:
        plugin = folder / "cli-plugins/docker-compose"
        plugin.parent.mkdir(parents=True)
        plugin.symlink_to(_PACKAGED_COMPOSE)
        return {"DOCKER_CONFIG": str(folder)}
    return {}


def require_an_engine() -> None:
    """Fail the test if no engine answers."""
    reason = why_no_engine_answers()
    if reason is not None:
        message = f"this test needs a Docker engine (DOCKER_HOST), and none answers: {reason}"
        pytest.fail(message, pytrace=False)


def why_no_engine_answers() -> str | None:
    try:
        DockerClient(timeout=10).client.ping()
    except Exception as error:  # whatever it is: a client that cannot ping has no engine
        return str(error)
    return None
