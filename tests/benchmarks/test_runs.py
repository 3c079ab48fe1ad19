"""What the programs make of the times and counts they see."""

import json

import pytest

from benchmarks.backlog import Watch
from benchmarks.harness.run import Run, figures_of
from benchmarks.harness.workload import TWO_STEPS, TYPE, VARIANTS, Work
from benchmarks.recover import progress_s


def test_progress_is_the_end_of_the_longest_standstill_of_any_partition() -> None:
    stood_still = [1.0, 2.0, 13.5, 14.0]
    untouched = [n / 2 for n in range(60)] + [30.6]

    assert progress_s([stood_still, untouched], killed_at=2.0) == 11.5


def test_progress_without_a_task_after_the_kill_is_none() -> None:
    assert progress_s([[1.0]], killed_at=2.0) == 0.0


def test_the_rate_of_a_backlog_leaves_out_the_start_of_the_processes() -> None:
    watch = Watch(1_000)
    watch.seen = [(0.0, 0), (5.0, 100), (7.0, 600), (8.0, 1_000)]
    watch.memory = [{"sink": mib} for mib in (50.0, 90.0, 95.0, 93.0)]

    assert watch.rate() == 300.0
    assert watch.after_tenth() == {"sink": 90.0}
    assert watch.peak_mib() == {"sink": 95.0}


def test_the_figures_of_an_engine_are_medians_for_a_thousand_tasks() -> None:
    runs = [Run(500, seconds, {"router": seconds}, {"router": seconds}) for seconds in (1, 2, 5)]

    found = figures_of(runs)

    assert found["rate"] == {"median": 250.0, "min": 100.0, "max": 500.0}
    assert (found["cpu"], found["cpu_s"]) == ({"router": 4.0}, 4.0)
    assert found["peak_mib"] == {"router": 5}


@pytest.mark.parametrize("work", [TWO_STEPS, *VARIANTS.values()], ids=lambda work: work.name)
def test_every_kind_of_work_has_a_pipeline_and_an_input_of_its_size(work: Work) -> None:
    pipeline = work.pipelines.get(TYPE)

    assert pipeline is not None
    assert pipeline.steps[-1].name == "noop_second"
    assert len(work.input) == work.payload_bytes
    assert json.loads(work.input)["payload"]
