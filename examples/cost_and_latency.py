"""What did the last hour cost, and how long did it take? DuckDB over the log.

Written in cells (``# %%``): run it whole, or open it as a notebook.
"""

# %% Read an hour of the log into a file of JSON lines, the events that count only.
import asyncio
import json
import tempfile
import time
from datetime import datetime
from pathlib import Path

import duckdb
from read_events import accepted_events

HOUR_MS = 3_600_000


async def read_hour() -> list[str]:
    """Each event as a JSON line; times are Unix milliseconds."""
    since_ms = int(time.time() * 1000) - HOUR_MS
    return [json.dumps(event, default=_millis) async for event in accepted_events(since_ms)]


def _millis(at: datetime) -> float:
    return at.timestamp() * 1000


FILE = Path(tempfile.mkdtemp(), "events.jsonl")
FILE.write_text("\n".join(asyncio.run(read_hour())), "utf-8")

# %% The columns that we need; the others are left out.
con = duckdb.connect()
con.execute(f"""
    CREATE TABLE events AS SELECT * FROM read_json('{FILE}', format = 'newline_delimited',
        columns = {{
            task_id: 'VARCHAR', kind: 'VARCHAR', run: 'INTEGER', occurred_at: 'DOUBLE',
            task: 'STRUCT(type VARCHAR)',
            step: 'STRUCT(name VARCHAR, attempt INTEGER, started_at DOUBLE, completed_at DOUBLE,
                usage STRUCT(model VARCHAR, input_tokens BIGINT, output_tokens BIGINT,
                    cost_micros BIGINT))'
        }})
""")

# %% One row for each attempt that ended. An event that ends one holds its usage, once.
con.execute("""
    CREATE TABLE tasks AS
        SELECT task_id, any_value(task.type) AS type, min(occurred_at) AS created_at
        FROM events WHERE kind = 'created' GROUP BY task_id;
    CREATE TABLE attempts AS
        SELECT task_id, run, step.name AS step, step.attempt AS attempt, step.usage AS usage,
            step.completed_at - step.started_at AS duration_ms,
            kind = 'step_retry_scheduled' AS wasted
        FROM events
        WHERE kind IN ('step_succeeded', 'step_retry_scheduled', 'completed', 'failed')
          AND step IS NOT NULL AND step.completed_at IS NOT NULL;
""")

# %% Cost and latency of the steps, by the task's type and the model.
COSTS = con.sql("""
    SELECT coalesce(t.type, 'created earlier') AS type,
        coalesce(a.usage.model, '-') AS model,
        count(DISTINCT a.task_id) AS tasks,
        count(*) AS attempts,
        count(*) FILTER (a.wasted) AS wasted,
        sum(coalesce(a.usage.input_tokens, 0))::BIGINT AS input_tokens,
        sum(coalesce(a.usage.output_tokens, 0))::BIGINT AS output_tokens,
        sum(coalesce(a.usage.cost_micros, 0))::BIGINT AS cost_micros,
        quantile_cont(a.duration_ms, 0.5)::BIGINT AS p50_ms,
        quantile_cont(a.duration_ms, 0.95)::BIGINT AS p95_ms
    FROM attempts a LEFT JOIN tasks t USING (task_id)
    GROUP BY ALL ORDER BY type, model
""")
print(COSTS)

# %% How long tasks took, from created to completed.
LATENCY = con.sql("""
    SELECT t.type, count(*) AS completed,
        quantile_cont(e.occurred_at - t.created_at, 0.5)::BIGINT AS p50_ms,
        quantile_cont(e.occurred_at - t.created_at, 0.95)::BIGINT AS p95_ms
    FROM events e JOIN tasks t USING (task_id)
    WHERE e.kind = 'completed' GROUP BY ALL ORDER BY t.type
""")
print(LATENCY)
