"""Commands that came before their task."""

from schemas.records import CommandKind, Millis, TaskCommand, TaskId
from streams.envelopes import Trace
from streams.ownership.held import HeldCommands
from tasks.inputs import Cause, Commanded, Input

START = Millis(1_000_000)
HOLD_MS = 10_000


class AnArrival:
    """A command record that notes nothing."""

    def __init__(self, offset: int) -> None:
        self.topic = "commands"
        self.offset = offset

    def read(self) -> Input:
        raise NotImplementedError

    def trace(self) -> Trace:
        return {}

    def ack(self) -> None:
        raise NotImplementedError


def a_command(task: str, offset: int) -> Commanded:
    record = TaskCommand(
        command_id=str(offset),
        task_id=TaskId(task),
        tenant_id="acme",
        kind=CommandKind.CANCEL,
        issued_at=START,
    )
    return Commanded(Cause("commands", 0, offset), record)


def holding(*tasks: str, at_most: int = 100) -> HeldCommands:
    held = HeldCommands(hold_ms=HOLD_MS, at_most=at_most)
    for offset, task in enumerate(tasks):
        held.add(AnArrival(offset), a_command(task, offset), START)
    return held


def test_the_commands_of_a_task_are_released_in_their_order() -> None:
    held = holding("a", "b", "a")

    assert [h.arrival.offset for h in held.release(TaskId("a"))] == [0, 2]
    assert held.release(TaskId("a")) == []
    assert len(held) == 1


def test_a_command_is_given_up_when_its_time_has_passed_and_all_creates_were_read() -> None:
    held = holding("a")
    held.set_created_end(7)
    late = Millis(START + HOLD_MS)

    assert held.expire(Millis(late - 1), 7) == []
    assert held.expire(late, 6) == []
    assert held.wanted_created_end(late) == 7
    assert [h.arrival.offset for h in held.expire(late, 7)] == [0]
    assert (len(held), held.next_at()) == (0, None)


def test_a_command_whose_end_was_not_asked_for_waits() -> None:
    held = holding("a")

    assert held.unknown_end
    assert held.expire(Millis(START + HOLD_MS), 10**9) == []


def test_only_the_newest_commands_are_told_an_end() -> None:
    held = holding("a")
    held.set_created_end(1)
    held.add(AnArrival(1), a_command("b", 1), START)
    held.set_created_end(5)

    assert [h.created_end for h in held.expire(Millis(START + HOLD_MS), 5)] == [1, 5]


def test_a_released_command_does_not_hold_back_those_behind_it() -> None:
    held = holding("a", "b")
    held.set_created_end(0)
    held.release(TaskId("a"))

    assert [h.arrival.offset for h in held.expire(Millis(START + HOLD_MS), 0)] == [1]


def test_too_many_commands_ask_for_a_pause_until_some_went() -> None:
    held = holding("a", "b", at_most=2)

    assert held.full
    held.release(TaskId("a"))
    assert not held.full
