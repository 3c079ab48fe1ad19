"""Ended tasks that are still remembered, kept outside of the process's memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

import msgspec

from schemas.records import Millis, TaskId
from tasks.task import Task

_TABLE = """
CREATE TABLE tasks (id TEXT NOT NULL UNIQUE, forgettable_at INTEGER NOT NULL, state BLOB NOT NULL);
CREATE INDEX tasks_by_time ON tasks (forgettable_at);
"""
_CACHE_KIB = 4 * 1024
_FORGETTABLE_MAX = 10_000
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Task).decode


class EndedTasks:
    """A table in a temporary SQLite file, which is removed when the process ends.

    The file does not have to survive: ``task-state`` holds all of its content. Recent reads and
    writes are in a cache of ``_CACHE_KIB``; the file has no journal and is never flushed.

    Raises:
        sqlite3.Error: from every method; the disk is full, or no folder for temporary files
            exists. The process ends, as the owner cannot know its tasks.
    """

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.executescript(f"PRAGMA journal_mode = OFF; PRAGMA cache_size = -{_CACHE_KIB};")
        self._db.executescript(_TABLE)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, task_id: object) -> bool:
        return self._row("SELECT 1 FROM tasks WHERE id = ?", task_id) is not None

    def __iter__(self) -> Iterator[TaskId]:
        for (task_id,) in self._db.execute("SELECT id FROM tasks"):
            yield TaskId(task_id)

    def add(self, tasks: Iterable[tuple[Task, Millis]]) -> None:
        """Add tasks that are not here yet, each with the time from which it may be forgotten."""
        rows = [(task.task_id, at, _encode(task)) for task, at in tasks]
        self._db.execute("BEGIN")
        self._db.executemany("INSERT INTO tasks VALUES (?, ?, ?)", rows)
        self._db.execute("COMMIT")
        self._count += len(rows)

    def get(self, task_id: TaskId) -> Task | None:
        """The task, or None if it is not here."""
        row = self._row("SELECT state FROM tasks WHERE id = ?", task_id)
        return None if row is None else _decode(row[0])

    def remove(self, task_id: TaskId) -> None:
        """Let go of a task, if it is here."""
        if self._count:
            self._count -= self._db.execute("DELETE FROM tasks WHERE id = ?", (task_id,)).rowcount

    def forgettable(self, now: Millis) -> list[Task]:
        """Tasks that may be forgotten; a part of them if there are very many."""
        found = self._db.execute(
            "SELECT state FROM tasks WHERE forgettable_at <= ? ORDER BY forgettable_at, id LIMIT ?",
            (now, _FORGETTABLE_MAX),
        )
        return [_decode(state) for (state,) in found]

    def _row(self, query: str, task_id: object) -> tuple[bytes] | None:
        # Most ids that are looked up are new, and most partitions begin with an empty table.
        if not self._count:
            return None
        found: tuple[bytes] | None = self._db.execute(query, (task_id,)).fetchone()
        return found
