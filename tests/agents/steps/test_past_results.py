"""Results that are read again are bounded in memory."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest

from agents.steps import past_results
from agents.steps.past_results import PastResults
from schemas.codec import encode
from schemas.dead_letter import Origin
from schemas.records import CommandId, Millis, ResultKind, StepName
from schemas.topics import Topics, TopicsSettings
from streams.settings import KafkaSettings
from tests.tasks.builders import a_life, a_result


def a_record(number: int) -> Origin:
    outstanding = a_life().task.outstanding
    assert outstanding is not None
    result = msgspec.structs.replace(
        a_result(outstanding, ResultKind.SUCCEEDED, output="{}"),
        step=StepName("generate"),
        command_id=CommandId(f"c{number:03}"),
    )
    return Origin(
        topic="step-results",
        partition=0,
        offset=number,
        timestamp_ms=0,
        key=None,
        value=encode(result),
        headers=(),
    )


class Log:
    """Stands for a reader of the log."""

    def __init__(self, records: Sequence[Origin]) -> None:
        self._records = records

    async def offset_at(self, *_: Any) -> int:
        return 0

    async def bounds(self, *_: Any) -> tuple[int, int]:
        return 0, len(self._records)

    async def read_all(self, _: Any) -> AsyncIterator[Sequence[Origin]]:
        for record in self._records:
            yield [record]


async def test_of_too_many_results_the_newest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [a_record(number) for number in range(100)]
    size = len(records[0].value or b"")
    log = contextlib.nullcontext(Log(records))
    monkeypatch.setattr(past_results, "LogReader", lambda *_, **__: log)
    past = PastResults(
        kafka=KafkaSettings(bootstrap="127.0.0.1:1"),
        topics=Topics(TopicsSettings()),
        step=StepName("generate"),
        at_most=1_000,
        max_bytes=10 * size,
        clock=lambda: Millis(0),
    )

    assert list(await past.results([0])) == [f"c{number:03}" for number in range(90, 100)]
