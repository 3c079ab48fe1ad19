"""The results of recent commands, for second copies of these commands. Pure."""

from schemas.records import CommandId

_OVERHEAD_BYTES = 350
"""Memory of an answer besides its value: its id, two objects and a place in the table."""


class Answers:
    """Keeps the newest encoded results by command, within two bounds.

    A result is kept as it was published: a copy of the command is answered with the same
    bytes, so they name the position at which the first copy was read.

    Args:
        max_count: number of results.
        max_bytes: approximate memory of the results. A larger result is not kept.
    """

    def __init__(self, *, max_count: int, max_bytes: int) -> None:
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._values: dict[CommandId, bytes] = {}
        self.size_bytes = 0
        """Approximate memory of the kept results, in bytes."""

    def __len__(self) -> int:
        return len(self._values)

    def keep(self, command_id: CommandId, value: bytes) -> None:
        """Keep the result of a command; drop the oldest ones if the table is full."""
        self._drop(command_id)
        self._values[command_id] = value
        self.size_bytes += len(value) + _OVERHEAD_BYTES
        while len(self._values) > self._max_count or self.size_bytes > self._max_bytes:
            self._drop(next(iter(self._values)))

    def find(self, command_id: CommandId) -> bytes | None:
        """The result of a command; None if it is unknown, or was forgotten."""
        return self._values.get(command_id)

    def _drop(self, command_id: CommandId) -> None:
        value = self._values.pop(command_id, None)
        if value is not None:
            self.size_bytes -= len(value) + _OVERHEAD_BYTES
