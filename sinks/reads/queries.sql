-- The queries of readers. Every page of a list is found by an index of 0006 and begins where the
-- previous one ended, so that late pages cost the same as the first.


-- name: read_tasks
-- Tasks by id ($1), in the order of their creation; only those of a tenant ($2) if it is not null.
-- A task of another tenant is not even read: it would take longer than one that is not there.
-- whole_steps: the steps with their large documents, if the row leaves these out.
SELECT {StoredTask.columns}, whole_steps
FROM ai_orchestrator.tasks t
LEFT JOIN LATERAL ai_orchestrator.steps_of(t.id, t.run) AS whole (whole_steps)
    ON t.steps @? '$[*].omitted'
WHERE id = ANY ($1::text[])
    AND ($2::text IS NULL OR tenant_id = $2)
ORDER BY created_at, id;


-- name: read_steps
-- The attempts of a task ($1), in their order.
SELECT
    task_id, run, step, attempt, step_index, tenant_id, command_id, service, lane, status,
    first_value(input) OVER (PARTITION BY run, step ORDER BY attempt) AS input,
    output, substeps, error_code, error_message, error_category, error_retriable,
    error_service, usage_model, input_tokens, output_tokens, cost_micros, usage_estimated,
    worker, dispatched_at, started_at, completed_at, next_attempt_at, duration_ms, event_offset
FROM ai_orchestrator.task_steps
WHERE task_id = $1
ORDER BY run, step_index, step, attempt;


-- name: read_logs
-- The audit trail of a task ($1), in its order.
SELECT {StoredLog.columns}
FROM ai_orchestrator.task_execution_logs
WHERE task_id = $1
ORDER BY event_offset;


-- name: count_by_status
-- The number of tasks in each status; of one tenant if $1 is not null.
SELECT status, count(*) AS tasks
FROM ai_orchestrator.tasks
WHERE $1::text IS NULL OR tenant_id = $1
GROUP BY status;


-- name: list_tasks
-- A page of tasks, newest first: tasks after the position $7, $8 (created_at and id of the last
-- task of the previous page; nulls for the first page), at most $9. A filter applies if it is not
-- null: $1 status, $2 type, $3 tenant, $4 conversation, $5 <= created_at < $6.
-- Must be planned for its values (sinks/pool.py): only then is a null filter left out of the plan.
SELECT {ListedTask.columns}
FROM ai_orchestrator.tasks
WHERE ($1::text IS NULL OR status = $1)
    AND ($2::text IS NULL OR type = $2)
    AND ($3::text IS NULL OR tenant_id = $3)
    AND ($4::text IS NULL OR conversation_id = $4)
    AND ($5::timestamptz IS NULL OR created_at >= $5)
    AND ($6::timestamptz IS NULL OR created_at < $6)
    AND ($7::timestamptz IS NULL OR (created_at, id) < ($7, $8::text))
ORDER BY created_at DESC, id DESC
LIMIT $9::integer;


-- name: list_queue
-- A page of pending tasks in the order of their service: the most urgent first, then the
-- oldest. Tasks after the position $5, $6, $7 (priority, created_at and id of the last task of
-- the previous page; priority 11 for the first page), at most $8. Filters as in list_tasks: $1
-- type, $2 tenant, $3 <= created_at < $4; they are applied while the queue is read.
-- Two branches, because the order descends in one column and ascends in the others: the rest of
-- the priority where the last page ended, then the lower ones. Both begin inside the index.
SELECT * FROM (
    (
        SELECT {ListedTask.columns}
        FROM ai_orchestrator.tasks
        WHERE status = 'pending' AND priority = $5::integer
            AND (created_at, id) > ($6::timestamptz, $7::text)
            AND ($1::text IS NULL OR type = $1)
            AND ($2::text IS NULL OR tenant_id = $2)
            AND ($3::timestamptz IS NULL OR created_at >= $3)
            AND ($4::timestamptz IS NULL OR created_at < $4)
        ORDER BY created_at, id
        LIMIT $8::integer
    )
    UNION ALL
    (
        SELECT {ListedTask.columns}
        FROM ai_orchestrator.tasks
        WHERE status = 'pending' AND priority < $5::integer
            AND ($1::text IS NULL OR type = $1)
            AND ($2::text IS NULL OR tenant_id = $2)
            AND ($3::timestamptz IS NULL OR created_at >= $3)
            AND ($4::timestamptz IS NULL OR created_at < $4)
        ORDER BY priority DESC, created_at, id
        LIMIT $8::integer
    )
) AS queue
ORDER BY priority DESC, created_at, id
LIMIT $8::integer;


-- name: usage
-- What attempts consumed, grouped by the dimensions in $1: model, type, tenant, day, status (the
-- column of any other dimension is null). Covers tasks with $2 <= created_at < $3 and of tenant
-- $4, each if it is not null; the day is that of created_at, in UTC, and the status is the task's.
-- An attempt is wasted if it ended without a success, or if a later run began again at its step
-- or before it, so that its output was dropped. Sums are numeric: they cannot overflow.
SELECT
    CASE WHEN 'model' = ANY ($1::text[]) THEN s.usage_model END AS model,
    CASE WHEN 'type' = ANY ($1::text[]) THEN t.type END AS type,
    CASE WHEN 'tenant' = ANY ($1::text[]) THEN t.tenant_id END AS tenant,
    CASE WHEN 'day' = ANY ($1::text[]) THEN (t.created_at AT TIME ZONE 'UTC')::date END AS day,
    CASE WHEN 'status' = ANY ($1::text[]) THEN t.status END AS status,
    count(DISTINCT t.id) AS tasks,
    count(s.started_at) AS calls,
    coalesce(sum(s.input_tokens) FILTER (WHERE NOT s.wasted), 0) AS input_tokens,
    coalesce(sum(s.output_tokens) FILTER (WHERE NOT s.wasted), 0) AS output_tokens,
    coalesce(sum(s.cost_micros) FILTER (WHERE NOT s.wasted), 0) AS cost_micros,
    count(s.started_at) FILTER (WHERE s.wasted) AS wasted_calls,
    coalesce(sum(s.input_tokens) FILTER (WHERE s.wasted), 0) AS wasted_input_tokens,
    coalesce(sum(s.output_tokens) FILTER (WHERE s.wasted), 0) AS wasted_output_tokens,
    coalesce(sum(s.cost_micros) FILTER (WHERE s.wasted), 0) AS wasted_cost_micros
FROM ai_orchestrator.tasks t
LEFT JOIN LATERAL (
    SELECT
        a.usage_model, a.started_at, a.input_tokens, a.output_tokens, a.cost_micros,
        a.status IN ('failed', 'retry_scheduled', 'cancelled') OR EXISTS (
            SELECT FROM ai_orchestrator.task_steps later
            WHERE later.task_id = a.task_id
                AND later.run > a.run
                AND later.step_index <= a.step_index
        ) AS wasted
    FROM ai_orchestrator.task_steps a
    WHERE a.task_id = t.id
) s ON true
WHERE ($2::timestamptz IS NULL OR t.created_at >= $2)
    AND ($3::timestamptz IS NULL OR t.created_at < $3)
    AND ($4::text IS NULL OR t.tenant_id = $4)
GROUP BY 1, 2, 3, 4, 5
ORDER BY 4, 3, 2, 1, 5;


-- name: next_offsets
-- The first unwritten offset of each partition of the log.
SELECT log_partition, next_offset FROM ai_orchestrator.sink_offsets;


-- name: all_sink_positions
-- The position of every partition of the log that was written.
SELECT log_partition, next_offset, epoch, owner FROM ai_orchestrator.sink_offsets;


-- name: all_index_positions
-- The position of every partition that the dead-letter index has read.
SELECT topic, log_partition, next_offset FROM ai_orchestrator.dlq_index_offsets;
