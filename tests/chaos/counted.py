"""What the metrics have to be, by the rows of Postgres alone, and what a scrape says."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping

import asyncpg
import httpx
from prometheus_client.parser import text_string_to_metric_families

Labels = tuple[str, ...]
Found = dict[tuple[str, Labels], float]
"""By the name of a sample and the values of its labels, those sorted by their names."""

BOUNDS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)

_COUNTERS = {
    "orchestrator_tasks_total": """
        SELECT CASE WHEN l.event_type IN ('created', 'retried') THEN 'pending'
                    ELSE l.event_type END AS status, t.type, count(*)
        FROM ai_orchestrator.task_execution_logs l
        JOIN ai_orchestrator.tasks t ON t.id = l.task_id
        WHERE l.event_type IN ('created', 'retried', 'completed', 'failed', 'cancelled')
        GROUP BY 1, 2""",
    "orchestrator_service_calls_total": """
        SELECT service, status, count(*)
        FROM ai_orchestrator.task_steps
        WHERE status NOT IN ('pending', 'running')
        GROUP BY 1, 2""",
    "orchestrator_tokens_used_total": """
        SELECT coalesce(usage_model, 'unknown'), tenant_id, sum(input_tokens + output_tokens)
        FROM ai_orchestrator.task_steps WHERE input_tokens IS NOT NULL GROUP BY 1, 2""",
    "orchestrator_cost_usd_total": """
        SELECT coalesce(usage_model, 'unknown'), tenant_id, sum(cost_micros) / 1e6
        FROM ai_orchestrator.task_steps WHERE cost_micros IS NOT NULL GROUP BY 1, 2""",
    "orchestrator_wasted_tokens_total": """
        SELECT service, sum(input_tokens + output_tokens)
        FROM ai_orchestrator.task_steps
        WHERE input_tokens IS NOT NULL AND status <> 'succeeded' GROUP BY 1""",
    "orchestrator_wasted_cost_usd_total": """
        SELECT service, sum(cost_micros) / 1e6
        FROM ai_orchestrator.task_steps
        WHERE cost_micros IS NOT NULL AND status <> 'succeeded' GROUP BY 1""",
}
_RUNS = """
    SELECT t.type, t.created_at, ended.run, ended.at, first.started_at
    FROM (
        SELECT task_id, (event_data ->> 'run')::integer AS run, created_at AS at
        FROM ai_orchestrator.task_execution_logs
        WHERE event_type IN ('completed', 'failed', 'cancelled')
    ) ended
    JOIN ai_orchestrator.tasks t ON t.id = ended.task_id
    LEFT JOIN LATERAL (
        SELECT (l.event_data -> 'step' ->> 'started_at')::bigint AS started_at
        FROM ai_orchestrator.task_execution_logs l
        WHERE l.task_id = ended.task_id AND (l.event_data ->> 'run')::integer = ended.run
          AND l.event_data -> 'step' ->> 'started_at' IS NOT NULL
        ORDER BY l.event_offset LIMIT 1
    ) first ON true
"""
_DURATIONS = {
    "orchestrator_task_duration_seconds": f"""
        SELECT type, (extract(epoch FROM at) * 1000)::bigint - started_at
        FROM ({_RUNS}) runs WHERE started_at IS NOT NULL""",
    "orchestrator_task_turnaround_seconds": f"""
        SELECT type, (extract(epoch FROM at - created_at) * 1000)::bigint
        FROM ({_RUNS}) runs WHERE run = 1""",
    "orchestrator_pipeline_duration_seconds": """
        SELECT t.pipeline, s.step, s.duration_ms
        FROM ai_orchestrator.task_steps s JOIN ai_orchestrator.tasks t ON t.id = s.task_id
        WHERE s.status <> 'cancelled' AND s.duration_ms IS NOT NULL""",
}


async def in_postgres(dsn: str) -> Found:
    """The samples that the rows of tasks, attempts and the trail make."""
    found: Found = {}
    conn = await asyncpg.connect(dsn)
    try:
        for name, statement in _COUNTERS.items():
            for *labels, value in await conn.fetch(statement):
                found[name, tuple(labels)] = float(value)
        for name, statement in _DURATIONS.items():
            durations: dict[Labels, list[int]] = defaultdict(list)
            for *labels, duration_ms in await conn.fetch(statement):
                durations[tuple(labels)].append(duration_ms)
            for each, values in durations.items():
                found |= _histogram(name, each, values)
    finally:
        await conn.close()
    return found


async def scraped(address: str) -> Found:
    """The same samples as a process exports them, added up over its log partitions."""
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"http://{address}/metrics")).text
    found: Found = defaultdict(float)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if "log_partition" in sample.labels:
                found[sample.name, _values(sample.labels)] += sample.value
    return dict(found)


def differences(found: Mapping[tuple[str, Labels], float], wanted: Found) -> dict[object, object]:
    """The samples that differ; sums are floats, which are exact to a millionth here."""
    return {
        key: (found.get(key, 0.0), wanted.get(key, 0.0))
        for key in sorted({*found, *wanted})
        if abs(found.get(key, 0.0) - wanted.get(key, 0.0)) > 1e-6
    }


def _histogram(name: str, labels: Labels, durations_ms: list[int]) -> Found:
    within = [0] * (len(BOUNDS_S) + 1)
    for duration_ms in durations_ms:
        within[bisect_left(BOUNDS_S, duration_ms / 1000)] += 1
    found: Found = {
        (f"{name}_count", labels): float(len(durations_ms)),
        (f"{name}_sum", labels): sum(durations_ms) / 1000,
    }
    for place, bound in enumerate((*BOUNDS_S, float("inf"))):
        shown = "+Inf" if bound == float("inf") else str(float(bound))
        found[f"{name}_bucket", (*labels, shown)] = float(sum(within[: place + 1]))
    return found


def _values(labels: Mapping[str, str]) -> Labels:
    names = sorted(labels.keys() - {"log_partition", "le"})
    return tuple(labels[name] for name in (*names, "le") if name in labels)
