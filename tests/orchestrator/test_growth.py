"""A system gets more partitions: by a second one beside it, and a switch."""

import asyncio
import shlex
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.growth import grown, growth_steps
from orchestrator.local.dev.system import DEV_DEFAULTS, open_system
from orchestrator.settings import load_settings
from schemas.errors import SettingsError
from schemas.topics import TopicsSettings
from tests.commands import Ended, run_command
from tests.e2e.driving import ANY_PORTS, Running, a_database, a_rag_task

PRESENT = TopicsSettings(prefix="orders.", partitions=4, replication_factor=3)


@pytest.mark.parametrize(
    ("partitions", "prefix", "says"),
    [
        (4, "", "it must be more"),
        (2, "new.", "it must be more"),
        (8, "orders.", "that of the present topics"),
        (8, "a b.", "letters, digits"),
    ],
)
def test_a_growth_that_cannot_be_is_refused_by_its_option(
    partitions: int, prefix: str, says: str
) -> None:
    with pytest.raises(SettingsError, match=rf"^--(partitions|prefix).*{says}"):
        grown(PRESENT, partitions, prefix)


def test_the_second_system_has_names_of_its_own_and_as_many_copies() -> None:
    assert grown(PRESENT, 12, "") == replace(PRESENT, prefix="p12.orders.", partitions=12)


def test_the_first_command_of_the_way_makes_the_new_topics() -> None:
    first = growth_steps(PRESENT, grown(PRESENT, 12, "new."))[0].commands[0]

    assert first == "ORCH_TOPICS_PREFIX=new. ORCH_TOPICS_PARTITIONS=12 orchestrator topics apply"


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.timeout(300)
async def test_a_small_system_grows_as_its_plan_says_and_no_task_is_lost(
    kafka_bootstrap: str, postgres_dsn: str, tmp_path: Path
) -> None:
    old_variables = {
        "ORCH_KAFKA_BOOTSTRAP": kafka_bootstrap,
        "ORCH_TOPICS_PREFIX": f"old-{uuid.uuid4().hex[:8]}.",
        "ORCH_TOPICS_PARTITIONS": "1",
        "ORCH_TOPICS_REPLICATION_FACTOR": "1",
        "ORCH_POSTGRES_DSN": await a_database(postgres_dsn),
    }
    async with a_system(old_variables, a_folder(tmp_path, "old")) as old:
        held = a_rag_task(hold=True)
        before = [held, *(a_rag_task() for _ in range(10))]
        await old.create(before)
        await old.row_until(held.task_id, lambda row: row["phase"] == "held")
        plan = await planned(old_variables)
        new_variables = {
            **old_variables,
            **named_in(plan["steps"][0]["commands"][0]),
            "ORCH_POSTGRES_DSN": await a_database(postgres_dsn),
        }
        assert plan["left"]["tasks"] >= 1
        assert not plan["drained"]
        for command in (("topics", "apply"), ("migrate", "up")):
            assert (await commanded(command, new_variables)).status == 0
        async with a_system(new_variables, a_folder(tmp_path, "new")) as new:
            after = [a_rag_task() for _ in range(10)]
            await new.create(after)
            cancel = ("task", "cancel", held.task_id, "--reason", "grown", "--direct")
            assert (await commanded(cancel, old_variables)).status == 0
            await drained(old_variables)

            await new.ended([task.task_id for task in after])
            await is_not_fooled(old_variables, new_variables["ORCH_POSTGRES_DSN"])
            await old.check([task.task_id for task in before], quiet=True)
            await new.check([task.task_id for task in after], quiet=True)

    assert new.system.settings.topics.partitions == 3


async def is_not_fooled(variables: dict[str, str], other_database: str) -> None:
    """A plan says of no database that nothing is left, unless its rows are all of this system's."""
    for_other = variables | {"ORCH_POSTGRES_DSN": other_database}
    refused = await commanded(("topics", "plan-growth", "--partitions", "3"), for_other)
    assert (refused.status, "SINK_POSITION_MOVED" in refused.err) == (1, True), refused.err
    restored = variables | {"ORCH_POSTGRES_DSN": await a_database(other_database)}
    assert (await commanded(("migrate", "up"), restored)).status == 0
    left = (await planned(restored))["left"]
    assert (left["unread"], left["tasks"]) == (0, 0)
    assert left["unwritten"] > 0


@asynccontextmanager
async def a_system(variables: dict[str, str], folder: Path) -> AsyncIterator[Running]:
    environment = {
        **ANY_PORTS,
        **variables,
        "ORCH_DEMO_CALL_LOG": str(folder / "calls.jsonl"),
    }
    settings = load_settings(environment, DEV_DEFAULTS)
    async with open_system(settings, environment=environment, logs=folder, together=True) as system:
        yield Running(system=system, call_log=folder / "calls.jsonl", logs=folder)


def a_folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder


async def planned(variables: dict[str, str]) -> dict[str, Any]:
    ended = await commanded(("topics", "plan-growth", "--partitions", "3", "-o", "json"), variables)
    assert ended.status == 0, ended.err
    found: dict[str, Any] = ended.document
    return found


async def commanded(command: tuple[str, ...], variables: dict[str, str]) -> Ended:
    return await asyncio.to_thread(run_command, command, variables)


async def drained(variables: dict[str, str]) -> None:
    async with asyncio.timeout(60):
        while not (await planned(variables))["drained"]:  # noqa: ASYNC110
            await asyncio.sleep(0.2)


def named_in(command: str) -> dict[str, str]:
    """The variables before the program in a command."""
    words = shlex.split(command)
    return dict(word.split("=", 1) for word in words[: words.index("orchestrator")])
