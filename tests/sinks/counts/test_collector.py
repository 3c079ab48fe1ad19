"""What Prometheus sees of the counts."""

from decimal import Decimal

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from schemas.records import Json
from sinks.counts import measures
from sinks.counts.collector import CountsCollector
from sinks.counts.measures import ABOVE_ALL, MEASURES
from sinks.counts.row import CountRow


def exported(*rows: CountRow) -> dict[tuple[str, ...], float]:
    """The samples by name and labels (sorted by name, partition and bound last), as scraped."""
    registry, collector = CollectorRegistry(), CountsCollector()
    registry.register(collector)
    collector.show(rows)
    text = generate_latest(registry).decode()
    return {
        (sample.name, *values_of(sample.labels)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def values_of(labels: dict[str, str]) -> list[str]:
    last = ("log_partition", "le")
    return [labels[name] for name in (*sorted(labels.keys() - {*last}), *last) if name in labels]


def a_row(
    metric: str,
    labels: str,
    *,
    bucket: int = 0,
    events: int = 1,
    total: int = 0,
    partition: int = 3,
) -> CountRow:
    return CountRow(3, metric, Json(labels), bucket, events, Decimal(total))


def test_a_counter_shows_events_with_the_partition_as_a_label() -> None:
    row = a_row(measures.TASKS.name, '{"type": "rag", "status": "failed"}', events=4)

    assert exported(row) == {("orchestrator_tasks_total", "failed", "rag", "3"): 4.0}


def test_money_is_shown_in_dollars() -> None:
    row = a_row(measures.COST.name, '{"model": "m", "tenant_id": "acme"}', total=1_250_000)

    assert exported(row) == {("orchestrator_cost_usd_total", "m", "acme", "3"): 1.25}


def test_a_histogram_adds_up_its_buckets_and_is_in_seconds() -> None:
    labels = '{"pipeline": "rag", "step": "generate"}'
    found = exported(
        a_row(measures.STEP_DURATION.name, labels, bucket=25, events=2, total=40),
        a_row(measures.STEP_DURATION.name, labels, bucket=1_000, events=1, total=960),
        a_row(measures.STEP_DURATION.name, labels, bucket=ABOVE_ALL, events=1, total=700_000),
    )
    name, at = "orchestrator_pipeline_duration_seconds", ("rag", "generate", "3")

    buckets = {key[-1]: value for key, value in found.items() if key[0] == f"{name}_bucket"}
    assert [buckets[bound] for bound in ("0.01", "0.025", "0.5", "1.0", "600.0", "+Inf")] == [
        *(0.0, 2.0, 2.0, 3.0, 3.0, 4.0)
    ]
    assert found[f"{name}_count", *at] == 4.0
    assert found[f"{name}_sum", *at] == 701.0


def test_a_bucket_of_another_version_counts_in_the_next_larger_one() -> None:
    row = a_row(measures.TASK_DURATION.name, '{"type": "rag"}', bucket=30, events=1, total=28)
    found = exported(row)

    assert found["orchestrator_task_duration_seconds_bucket", "rag", "3", "0.025"] == 0.0
    assert found["orchestrator_task_duration_seconds_bucket", "rag", "3", "0.05"] == 1.0


def test_a_tenant_that_is_named_like_the_rest_shares_its_series() -> None:
    one = a_row(measures.TOKENS.name, '{"model": "m", "tenant_id": "other"}', total=1)
    two = a_row(measures.TOKENS.name, '{"tenant_id": "other", "model": "m"}', total=2)

    assert exported(one, two) == {("orchestrator_tokens_used_total", "m", "other", "3"): 3.0}


def test_every_metric_has_its_name_and_type_before_the_first_count() -> None:
    families = {family.name for family in CountsCollector().describe()}

    assert families == {measure.name.removesuffix("_total") for measure in MEASURES}
