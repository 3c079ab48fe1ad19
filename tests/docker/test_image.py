"""The image: small, without tools, for a user without rights, and with a list of what it holds."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.docker.engine import DockerFailedError, require_an_engine, run_program
from tests.docker.images import BASE, DEMO_IMAGE, IMAGE, make_images

pytestmark = [
    pytest.mark.docker,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(1200),
]

SIZE_MAX = 250_000_000
OFFICIAL_BASE = 131_000_000
"""Bytes of the official python:3.11-slim-bookworm; another base counts as if it were that one."""


@pytest.fixture(scope="module", autouse=True)
def engine() -> None:
    require_an_engine()


async def test_the_image_is_small(capsys: pytest.CaptureFixture[str]) -> None:
    await make_images()
    size, base = [(await inspected(image))["Size"] for image in (IMAGE, BASE)]
    with capsys.disabled():
        print(f"\n{IMAGE}: {size} bytes, {size - base} of them ours, base {BASE}: {base}")

    assert size - base + OFFICIAL_BASE < SIZE_MAX


async def test_the_image_names_its_version_and_its_license() -> None:
    labels = (await inspected(IMAGE))["Config"]["Labels"]
    printed = await in_image("--version")

    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert printed.split() == ["orchestrator", labels["org.opencontainers.image.version"]]
    assert re.fullmatch(r"[0-9a-f]{40}", labels["org.opencontainers.image.revision"])


async def test_the_image_runs_as_a_user_that_owns_nothing() -> None:
    script = "import os; print(os.getuid(), os.access('/opt/orchestrator', os.W_OK))"
    assert await in_image("-c", script, entrypoint="python") == "10001 False\n"


async def test_every_module_is_compiled_before_it_runs() -> None:
    script = (
        "import pathlib, importlib.util as u; "
        "print([str(p) for p in pathlib.Path(u.find_spec('tasks').submodule_search_locations[0])"
        ".rglob('*.py') if not pathlib.Path(u.cache_from_source(str(p))).exists()])"
    )
    assert await in_image("-c", script, entrypoint="python") == "[]\n"


async def test_a_role_that_waits_for_kafka_ends_when_it_is_asked_to() -> None:
    options = ("--detach", "--env", "ORCH_KAFKA_BOOTSTRAP=127.0.0.1:1")
    started = await run_program("docker", "run", *options, IMAGE, "worker", "router")
    container = started.strip()
    try:
        async with asyncio.timeout(60):
            while "KAFKA_UNAVAILABLE" not in await logs_of(container):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        # After this time Docker kills, and the status is 137.
        await run_program("docker", "stop", "--timeout", "20", container)
        [ended] = json.loads(await run_program("docker", "inspect", container))
    finally:
        await run_program("docker", "rm", "--force", container)

    assert ended["State"]["ExitCode"] == 0


@pytest.mark.parametrize("tool", ["gcc", "cc", "make", "strip", "git", "curl"])
async def test_the_image_has_no_tools_to_build_with(tool: str) -> None:
    with pytest.raises(DockerFailedError, match="not found"):
        await in_image(entrypoint=tool)
    with pytest.raises(DockerFailedError):
        await in_image("-c", "import pip", entrypoint="/opt/orchestrator/bin/python")


@pytest.mark.parametrize(("image", "lock"), [(IMAGE, "image"), (DEMO_IMAGE, "demo")])
async def test_the_list_of_contents_has_what_the_lock_names(image: str, lock: str) -> None:
    listed = await in_image("/opt/orchestrator/sbom.cdx.json", entrypoint="cat", image=image)
    components = json.loads(listed)["components"]
    found = {(one["name"].lower().replace("_", "-"), one["version"]) for one in components}

    assert len(found) > 50
    assert found - locked(lock) == set()


async def inspected(image: str) -> dict[str, Any]:
    [found] = json.loads(await run_program("docker", "image", "inspect", image))
    return dict(found)


async def logs_of(container: str) -> str:
    return await run_program("sh", "-c", f"docker logs {container} 2>&1")


async def in_image(*arguments: str, entrypoint: str = "orchestrator", image: str = IMAGE) -> str:
    options = ("--rm", "--read-only", "--network", "none", "--entrypoint", entrypoint)
    return await run_program("docker", "run", *options, image, *arguments)


def locked(name: str) -> set[tuple[str, str]]:
    """Names and versions; a package may have another version for another Python."""
    text = Path(f"requirements/{name}.lock").read_text("utf-8")
    return set(re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE))
