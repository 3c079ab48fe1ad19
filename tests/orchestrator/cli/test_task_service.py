"""``orchestrator task`` when the service is not there, is silent, or is something else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from orchestrator.cli.task import served as task_served
from orchestrator.cli.task import service_client
from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from schemas.gen.orchestrator.v1 import orchestrator_pb2_grpc as pb_grpc
from tests.commands import Ended, run_command

COMMANDS = [
    ("create", "--type", "rag", "--input", "{}"),
    ("get", "task_1"),
    ("list",),
    ("execute", "task_1"),
    ("cancel", "task_1"),
    ("retry", "task_1"),
    ("set-priority", "task_1", "high"),
    ("watch", "task_1"),
]
each_command = pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
KEY = "orch_a-secret"


async def task(address: str, *arguments: str, **environment: str) -> Ended:
    variables = {"ORCH_API_SERVER": address, "ORCH_API_KEY": KEY, **environment}
    ended = await asyncio.to_thread(run_command, ("task", *arguments), variables)
    assert KEY not in ended.out + ended.err
    return ended


@each_command
async def test_a_command_without_a_server_says_how_to_start_one(arguments: tuple[str, ...]) -> None:
    ended = await task("127.0.0.1:1", *arguments)

    assert (ended.status, ended.out) == (1, "")
    assert ended.err == (
        "error API_UNAVAILABLE: no service answers at 127.0.0.1:1: start one with "
        "`make run` (`orchestrator dev`) or `orchestrator serve`, name another one with "
        "--server HOST:PORT, or do without it: --direct\n"
    )


async def test_a_server_that_accepts_and_says_nothing_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service_client, "_CONNECT_S", 0.3)
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, asyncio.timeout(30):
        ended = await task(f"127.0.0.1:{port}", "get", "task_1")

    assert ended.err.startswith("error API_UNAVAILABLE: no service answers at 127.0.0.1:")


Method = Callable[[Any, Any], Awaitable[Any]]


@asynccontextmanager
async def a_service(**methods: Method) -> AsyncIterator[str]:
    """The address of a service that has these methods; without one it is of another kind."""
    server = grpc.aio.server()
    plain = {name: staticmethod(method) for name, method in methods.items()}
    servicer = type("Service", (pb_grpc.OrchestratorServicer,), plain)
    if methods:
        pb_grpc.add_OrchestratorServicer_to_server(servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def hang(request: Any, context: Any) -> Any:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("arguments", "method"),
    [
        (("get", "task_1", "--timeout-s", "0.3"), "GetTask"),
        (("watch", "task_1", "--timeout-s", "0.3"), "GetTask"),
        (("list",), "ListTasks"),
        (("create", "--type", "rag", "--input", "{}"), "CreateTask"),
        (("cancel", "task_1", "--wait-s", "0.1"), "CancelTask"),
    ],
)
async def test_a_service_that_does_not_answer_a_call_is_given_up(
    arguments: tuple[str, ...], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_served, "_CALL_S", 0.3)
    async with a_service(**{method: hang}) as address, asyncio.timeout(30):
        ended = await task(address, *arguments)

    assert ended.status == 1
    assert ended.err == f"error API_UNAVAILABLE: {address} did not answer in time\n"


async def test_a_stream_that_is_silent_for_too_long_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(task_served, "_SILENCE_S", 0.2)

    async def get(request: Any, context: Any) -> Any:
        return pb.GetTaskResponse(task=pb.Task(status=pb.TASK_STATUS_PENDING))

    async def watch(request: Any, context: Any) -> Any:
        await asyncio.Event().wait()
        yield

    methods: Any = {"GetTask": get, "WatchTask": watch}
    async with a_service(**methods) as address, asyncio.timeout(30):
        ended = await task(address, "watch", "task_1", "--timeout-s", "0.5")

    assert ended.err == f"error API_UNAVAILABLE: {address} was silent for 0.2 s\n"


async def test_another_replica_goes_on_at_once_when_one_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(task_served, "_AGAIN_S", 60.0)

    async def pending(request: Any, context: Any) -> Any:
        return pb.GetTaskResponse(task=pb.Task(status=pb.TASK_STATUS_PENDING))

    async def stops(request: Any, context: Any) -> Any:
        for message in list[pb.WatchTaskResponse]():
            yield message

    async def completed(request: Any, context: Any) -> Any:
        return pb.GetTaskResponse(task=pb.Task(status=pb.TASK_STATUS_COMPLETED, sequence=7))

    async def ends(request: Any, context: Any) -> Any:
        yield pb.WatchTaskResponse(event=pb.TaskEvent(task_id="task_1", sequence=7))

    first: Any = {"GetTask": pending, "WatchTask": stops}
    second: Any = {"GetTask": completed, "WatchTask": ends}
    async with a_service(**first) as one, a_service(**second) as other, asyncio.timeout(30):
        ended = await task(f"{one},{other}", "watch", "task_1", "-o", "json")

    assert (ended.status, ended.err) == (0, "")
    assert '"sequence":7' in ended.out.replace(" ", "")


@each_command
async def test_a_server_of_another_kind_is_named(arguments: tuple[str, ...]) -> None:
    async with a_service() as address:
        ended = await task(address, *arguments)

    assert ended.status == 1
    assert ended.err == (
        f"error API_UNAVAILABLE: what answers at {address} is not a service of this version\n"
    )


async def test_the_key_goes_with_every_call_and_the_option_wins_over_the_variable() -> None:
    seen: list[str] = []

    async def listed(request: Any, context: Any) -> Any:
        seen.append(dict(context.invocation_metadata())["authorization"])
        return pb.ListTasksResponse()

    async with a_service(ListTasks=listed) as address:
        ended = await task("127.0.0.1:1", "list", "--server", address, "-o", "json")

    assert (ended.status, ended.out) == (0, "")
    assert "no task of the tenant" in ended.err
    assert seen == [f"Bearer {KEY}"]


async def test_a_stranger_who_refuses_without_details_is_told_by_the_status() -> None:
    async def refuse(request: Any, context: Any) -> Any:
        junk = (("grpc-status-details-bin", b"\xff\xff"),)
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, "no", junk)

    async with a_service(GetTask=refuse) as address:
        ended = await task(address, "get", "task_1")

    assert (
        ended.err == f"error API_UNAVAILABLE: the call of {address} broke off: PERMISSION_DENIED\n"
    )


@pytest.mark.parametrize("server", ["nowhere", "a:0", "a:70000", "http://a:1", "a b:1", ""])
async def test_a_server_that_is_no_address_is_refused(server: str) -> None:
    ended = await task("127.0.0.1:1", "list", "--server", server)

    assert ended.status == 2
    assert "--server: " in ended.err, ended.err


@pytest.mark.parametrize("name", ["ORCH_API_SERVER", "ORCH_API_KEY"])
async def test_a_setting_that_is_wrong_is_refused_without_its_key(name: str) -> None:
    ended = await task("127.0.0.1:1", "list", **{name: f"{KEY} {KEY}"})

    assert ended.err.startswith("error SETTINGS_INVALID: ORCH_API_*: "), ended.err


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("create", "--type", "rag", "--input", "{}", "--tenant", "acme"), "--tenant"),
        (("create", "--type", "rag", "--input", "{}", "--id", "task_1"), "--id"),
        (("cancel", "task_1", "--tenant", "acme"), "--tenant"),
        (("cancel", "task_1", "--actor", "ada"), "--actor"),
        (("list", "--tenant", "acme"), "--tenant"),
        (("list", "--direct"), "--server and --direct"),
    ],
)
async def test_options_that_do_not_go_together_are_wrong_arguments(
    arguments: tuple[str, ...], option: str
) -> None:
    ended = await task("127.0.0.1:1", *arguments, "--server", "127.0.0.1:1")

    assert ended.status == 2
    assert option in ended.err
