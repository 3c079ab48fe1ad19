"""What an owner remembers is the same whether it is at hand or put away."""

from collections import Counter

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.records import Millis, TaskId
from streams.ownership.ended_tasks import EndedTasks
from streams.ownership.task_memory import TaskMemory
from tasks.remember import forgettable_at, shrunk
from tasks.task import Task
from tests.tasks.builders import RULES, a_completed_life, a_failed_life, a_life

RUNNING, COMPLETED, FAILED = a_life().task, a_completed_life().task, a_failed_life().task
KINDS = {"running": RUNNING, "completed": COMPLETED, "failed": FAILED}
LATE = Millis(2**60)


def a_task(like: Task, name: str) -> Task:
    return replace(like, spec=msgspec.structs.replace(like.spec, task_id=TaskId(name)))


def ids_of(tasks: list[Task]) -> list[str]:
    return [task.task_id for task in tasks]


steps = st.lists(
    st.tuples(st.sampled_from([*KINDS, "put away", "forget"]), st.sampled_from("abcd")),
    max_size=30,
)


@given(steps)
def test_whatever_is_put_away_the_memory_answers_as_a_dict_does(
    doings: list[tuple[str, str]],
) -> None:
    memory, model = TaskMemory(RULES), dict[str, Task]()
    for doing, name in doings:
        if doing == "put away":
            memory.put_away()
        elif doing == "forget":
            memory.forget(TaskId(name))
            model.pop(name, None)
        else:
            # A state after the first one, unless nothing is known of the task.
            task = a_task(KINDS[doing], name)
            task = replace(task, sequence=9 if name in model else 1)
            memory.put(task)
            model[name] = shrunk(task)

        assert {name: memory.get(TaskId(name)) for name in "abcd"} == {
            name: model.get(name) for name in "abcd"
        }
        assert (len(memory), {*memory}) == (len(model), {*model})
        assert all((name in memory) == (name in model) for name in "abcd")
        live = Counter(task.phase for task in model.values() if not task.status.terminal)
        assert +memory.live == live
        forgettable = {n for n, t in model.items() if forgettable_at(t, RULES) is not None}
        assert {*ids_of(memory.forgettable(LATE))} == forgettable


def test_a_task_that_ended_may_be_forgotten_at_its_time_and_not_before() -> None:
    memory, at = TaskMemory(RULES), forgettable_at(COMPLETED, RULES)
    assert at is not None
    memory.put(COMPLETED)

    for put_away in (False, True):
        if put_away:
            memory.put_away()
        assert memory.forgettable(Millis(at - 1)) == []
        assert ids_of(memory.forgettable(at)) == [COMPLETED.task_id]


def test_those_that_ended_first_are_forgotten_first() -> None:
    ended = EndedTasks()
    for name, at in (("b", 2), ("a", 3), ("c", 1)):
        ended.add([(a_task(COMPLETED, name), Millis(at))])

    assert ids_of(ended.forgettable(Millis(2))) == ["c", "b"]
