"""What ``orchestrator serve`` sets up before it serves."""

import gc
from collections.abc import Iterator

import pytest

from orchestrator.cli import serve as command


@pytest.fixture
def _collector() -> Iterator[None]:
    """Puts the garbage collector back."""
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("_collector")
def test_the_service_looks_for_cycles_as_rarely_as_the_roles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[int, bool]] = []

    async def served(*_: object) -> None:
        seen.append((gc.get_threshold()[0], gc.get_freeze_count() > 0))

    monkeypatch.setattr(command, "_serve", served)
    monkeypatch.setattr(command, "set_up_logs", lambda *_, **__: None)
    monkeypatch.setattr(command, "switch_level_on_signal", lambda _: None)
    monkeypatch.setenv("ORCH_METRICS_ENABLED", "false")
    command.serve()

    assert seen == [(50_000, True)]
