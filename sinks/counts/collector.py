"""Shows counts to Prometheus: rows of ``metric_counts`` become metric families.

Each series has the label ``log_partition`` beside its own: a partition moves between processes,
so only its own series never falls. ``sum without (log_partition)`` gives the metric.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

import msgspec
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from sinks.counts.measures import ABOVE_ALL, BUCKETS_MS, MEASURES, Measure, Shape
from sinks.counts.row import CountRow

_PARTITION = "log_partition"
_BOUNDS = (*(str(float(bound / 1000)) for bound in BUCKETS_MS), "+Inf")


class CountsCollector(Collector):
    """Yields the rows that it was given last; a scrape reads nothing."""

    def __init__(self) -> None:
        self._rows: Sequence[CountRow] = ()

    def show(self, rows: Sequence[CountRow]) -> None:
        """Replace the rows; any thread may collect at the same time."""
        self._rows = rows

    @property
    def rows(self) -> Sequence[CountRow]:
        """The rows that are shown."""
        return self._rows

    def collect(self) -> Iterator[Metric]:
        """The families of all metrics, also of those without a count."""
        return families(self._rows)

    def describe(self) -> Iterator[Metric]:
        """Names and types, for the registry."""
        return families(())


def families(rows: Iterable[CountRow]) -> Iterator[Metric]:
    """The metric families of these rows. Pure."""
    by_metric: dict[str, list[CountRow]] = defaultdict(list)
    for row in rows:
        by_metric[row.metric].append(row)
    for measure in MEASURES:
        found = by_metric[measure.name]
        duration = measure.shape is Shape.DURATION
        yield _histogram(measure, found) if duration else _counter(measure, found)


def _counter(measure: Measure, rows: Iterable[CountRow]) -> Metric:
    labels = (*measure.labels, _PARTITION)
    family = CounterMetricFamily(measure.name, measure.about, labels=labels)
    # A tenant may itself be named "other": its series are one.
    sums: dict[tuple[str, ...], float] = defaultdict(float)
    for row in rows:
        value = row.events if measure.shape is Shape.EVENTS else row.total / measure.per_unit
        sums[_labels(measure, row)] += float(value)
    for values, total in sorted(sums.items()):
        family.add_metric(values, total)
    return family


def _histogram(measure: Measure, rows: Iterable[CountRow]) -> Metric:
    labels = (*measure.labels, _PARTITION)
    family = HistogramMetricFamily(measure.name, measure.about, labels=labels)
    counts: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0] * len(_BOUNDS))
    sums_ms: dict[tuple[str, ...], int] = defaultdict(int)
    for row in rows:
        values = _labels(measure, row)
        # A bound of another version counts in the next one that is not below it.
        place = len(BUCKETS_MS) if row.bucket == ABOVE_ALL else bisect_left(BUCKETS_MS, row.bucket)
        counts[values][place] += row.events
        sums_ms[values] += int(row.total)
    for values, each in sorted(counts.items()):
        buckets = list(zip(_BOUNDS, map(float, accumulate(each)), strict=True))
        family.add_metric(values, buckets, sums_ms[values] / 1000)
    return family


def _labels(measure: Measure, row: CountRow) -> tuple[str, ...]:
    labels = msgspec.json.decode(row.labels, type=dict[str, str])
    return (*(labels.get(name, "") for name in measure.labels), str(row.log_partition))
