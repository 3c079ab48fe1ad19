"""What an operator has to act on is printed by ``dev``, not only written to a log file."""

import json
from pathlib import Path

import pytest

from orchestrator.local.dev.role_watch import LogWatch
from orchestrator.local.embedded.process import Child

REPLACED = {"event": "waiting", "code": "TOPIC_REPLACED", "reason": "made again"}


class Watched:
    """A watch of two processes, and what it reports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.watch = LogWatch(folder, lambda name, what, _log: self.said.append(f"{name}: {what}"))

    def writes(self, name: str, *lines: object, end: str = "\n") -> None:
        """A process writes lines, and the watch looks."""
        path = self.folder / f"{name}.log"
        with path.open("a") as log:
            log.write("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines) + end)
        self.watch.look(Child(name, ["/bin/true"], env={}, log_path=path))


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    (tmp_path / "router.log").write_text(json.dumps(REPLACED) + "\n")
    return Watched(tmp_path)


def test_a_wait_for_an_operator_is_reported_once_for_all_roles(watched: Watched) -> None:
    watched.writes("router", REPLACED, REPLACED)
    watched.writes("sink", REPLACED)

    assert watched.said == ["router: waiting: TOPIC_REPLACED: made again"]


def test_an_error_is_reported_and_what_is_well_is_not(watched: Watched) -> None:
    watched.writes("sink", {"event": "started", "level": "info"}, "plain text", "{not json")
    watched.writes("sink", {"event": "late", "level": "warning"})
    watched.writes("sink", {"event": "retries", "level": "error", "logger": "aiokafka"})
    watched.writes("sink", {"event": "failed", "level": "error", "reason": "why"})

    assert watched.said == ["sink: failed: why"]


def test_what_former_processes_wrote_is_not_reported(watched: Watched) -> None:
    watched.writes("router", {"event": "started", "level": "info"})

    assert watched.said == []


def test_a_line_that_is_still_being_written_is_reported_when_it_is_whole(watched: Watched) -> None:
    text = json.dumps(REPLACED)
    watched.writes("sink", text[:20], end="")
    assert watched.said == []
    watched.writes("sink", text[20:])

    assert len(watched.said) == 1


def test_a_log_that_was_moved_aside_is_read_from_its_beginning(watched: Watched) -> None:
    (watched.folder / "router.log").unlink()
    watched.writes("router", {"event": "e", "level": "error"})

    assert watched.said == ["router: e"]
