"""`task create --stream`: pieces of the answer as they come, and nothing that moves a cursor."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from orchestrator.cli.app import app
from orchestrator.cli.task.create import _Pieces
from orchestrator.cli.task.served import _events
from orchestrator.cli.task.service_client import Service
from schemas.gen.orchestrator.v1 import orchestrator_pb2 as pb
from schemas.records import TaskId


class OneStream:
    """A service whose task has ended after one stream."""

    async def stream(self, method: str, request: Any, *, silence_s: float) -> AsyncIterator[Any]:
        yield pb.WatchTaskResponse(chunk=pb.Chunk(kind="progress", data="50 %"))
        yield pb.WatchTaskResponse(chunk=pb.Chunk(kind="text", data="A la"))
        yield pb.WatchTaskResponse(heartbeat=True)
        yield pb.WatchTaskResponse(chunk=pb.Chunk(kind="text", data="ne."))
        yield pb.WatchTaskResponse(event=pb.TaskEvent(sequence=4))

    async def ask(self, method: str, request: Any, *, timeout_s: float) -> Any:
        task = pb.Task(id="task_1", sequence=4, status=pb.TASK_STATUS_COMPLETED)
        return pb.GetTaskResponse(task=task)


async def test_the_text_of_an_answer_is_given_piece_by_piece() -> None:
    pieces: list[str] = []
    service = cast(Service, OneStream())

    events = [event async for event in _events(service, TaskId("task_1"), 0, 5, pieces.append)]

    assert pieces == ["A la", "ne."]
    assert [event.sequence for event in events] == [4]


def test_a_piece_cannot_act_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    pieces = _Pieces()
    pieces("A\x1b[2Jla")
    pieces("ne.\n")
    pieces.end()

    assert capsys.readouterr().out == "A\N{REPLACEMENT CHARACTER}[2Jlane.\n\n"


@pytest.mark.parametrize("other", [["--direct"], ["-o", "json"]])
def test_what_has_no_pieces_refuses_to_stream(other: list[str]) -> None:
    arguments = ["task", "create", "--type", "rag", "--input", "{}", "--stream", *other]

    assert CliRunner().invoke(app, arguments).exit_code == 2
