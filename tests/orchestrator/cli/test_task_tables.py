"""What the commands about tasks and dead letters print fits a terminal of 80 columns."""

from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.cli import output
from orchestrator.cli.dlq.show import print_list, print_stats
from orchestrator.cli.output import Output
from orchestrator.cli.task.show import show_list, show_task
from schemas.records import TaskId
from sinks.reads.stored import ListedTask
from tests.letters.building import a_case

ID = "task_019a6f0c-1d2e-7f30-8a4b-5c6d7e8f9a0b"
LONG_ID = "x" * 64
AT = "2026-05-01T12:30:00.000Z"


@pytest.fixture(autouse=True)
def terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "terminal_width", lambda: 80)


def a_listed_task(task_id: str) -> ListedTask:
    now = datetime(2026, 5, 1, 12, 30, tzinfo=UTC)
    return ListedTask(
        id=TaskId(task_id),
        type="multimodal",
        status="running",
        phase="retry_scheduled",
        priority=10,
        tenant_id="a-tenant-with-a-long-name",
        conversation_id="c" * 40,
        user_id="ada",
        created_at=now,
        updated_at=now,
        started_at=now,
        completed_at=None,
        duration_ms=None,
        run=1,
        error_code="SERVICE_MESSAGE_TOO_LARGE",
        input_tokens=123_456,
        output_tokens=7_890,
        cost_micros=12_345_678,
    )


def a_view() -> dict[str, Any]:
    usage = {"model": "m", "input_tokens": 123_456, "output_tokens": 7_890, "cost_micros": 12_345}
    error = {"code": "SERVICE_MESSAGE_TOO_LARGE", "message": "a long message " * 20}
    attempt = {"run": 1, "step": "a_step_with_a_name", "attempt": 4, "status": "retry_scheduled"}
    event = {"sequence": 12, "at": AT, "kind": "step_retry_scheduled", "step": "retrieve"}
    names = ("conversation_id", "user_id", "pipeline", "pipeline_version", "deadline_at")
    return {
        **dict.fromkeys(names, "a value"),
        "id": LONG_ID,
        "type": "rag",
        "tenant_id": "acme",
        "priority": 5,
        "run": 1,
        "status": "running",
        "phase": "retry_scheduled",
        "duration_ms": 123,
        "source": "log",
        "created_at": AT,
        "started_at": AT,
        "completed_at": AT,
        "usage": usage,
        "error": error,
        "input": {"query": "why? " * 100},
        "output": {"answer": "x" * 300},
        "attempts": [
            attempt | {"error": error, "usage": usage, "started_at": AT, "duration_ms": 120_000}
        ],
        "timeline": [
            event
            | {"attempt": 4, "phase": "retry_scheduled", "actor": "api/grpc/0123456789"}
            | {"error": None, "reason": "because a customer waits for it since the morning"}
        ],
    }


@pytest.mark.parametrize("task_id", [ID, LONG_ID])
def test_a_list_of_tasks_fits_with_whole_ids(
    capsys: pytest.CaptureFixture[str], task_id: str
) -> None:
    show_list([a_listed_task(task_id)], Output.TABLE)
    lines = capsys.readouterr().out.splitlines()

    assert max(map(len, lines)) <= 80
    assert lines[1].split()[0] == task_id


def test_all_that_is_known_of_a_task_fits(capsys: pytest.CaptureFixture[str]) -> None:
    show_task(a_view(), Output.TABLE)
    printed = capsys.readouterr()

    assert max(map(len, printed.out.splitlines())) <= 80
    assert LONG_ID in printed.out
    assert "columns left out: started, USD" in printed.err


def test_wide_shows_every_column_of_a_task(capsys: pytest.CaptureFixture[str]) -> None:
    show_task(a_view(), Output.WIDE)
    printed = capsys.readouterr()

    assert printed.err == ""
    assert "api/grpc/0123456789" in printed.out


def test_every_line_of_a_list_of_dead_letters_is_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    letters = [a_case(), a_case()]
    print_list(letters, limit=1, output=Output.WIDE)
    listed = capsys.readouterr()
    print_stats(letters, ["code"], output=Output.WIDE)
    counted = capsys.readouterr()

    assert len(listed.out.splitlines()) == len(counted.out.splitlines()) == 2
    assert listed.err == "1 of 2 dead letters\n"
    assert counted.err == "2 dead letters\n"
