-- Statements of the sink and the migrations; reads/queries.sql has those of readers. Batches are
-- arrays of equal length, one for each column: sinks/columns.py names the columns in this order.
-- Times are Unix milliseconds.


-- name: read_positions
-- The positions up to which these partitions of task-events were written. No row: never written.
SELECT log_partition, next_offset, epoch, owner
FROM ai_orchestrator.sink_offsets
WHERE log_partition = ANY ($1::integer[]);


-- name: positions_are_keyed
-- Whether the table of positions has its key. A restore fills a table before it makes its key: until
-- then a position that is not there may still come.
SELECT EXISTS (
    SELECT FROM pg_index
    WHERE indrelid = to_regclass('ai_orchestrator.sink_offsets') AND indisprimary
);


-- name: begin_positions
-- Create the first row of partitions ($1), each with its next offset, epoch and owner ($2, $3,
-- $4); returns the partitions that had no row. Counts go with the position: those of a partition
-- whose position was deleted are deleted, because its events will be written and counted again.
WITH former AS (
    DELETE FROM ai_orchestrator.metric_counts WHERE log_partition = ANY ($1::integer[])
)
INSERT INTO ai_orchestrator.sink_offsets
    (log_partition, next_offset, epoch, owner, counted_from)
SELECT log_partition, next_offset, epoch, owner, 0
FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::text[])
    AS p (log_partition, next_offset, epoch, owner)
ON CONFLICT (log_partition) DO NOTHING
RETURNING log_partition;


-- name: move_positions
-- Move partitions ($1) to $2, $3, $4 (next offset, epoch, owner), each if it is still at its
-- offset in $5; returns the moved ones. Their rows stay locked until the transaction ends, so
-- writers of one partition follow each other. A partition that was written without counts is
-- counted from here on.
UPDATE ai_orchestrator.sink_offsets AS s
SET next_offset = p.next_offset, epoch = p.epoch, owner = p.owner, updated_at = now(),
    counted_from = coalesce(s.counted_from, p.expected_offset)
FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[])
    AS p (log_partition, next_offset, epoch, owner, expected_offset)
WHERE s.log_partition = p.log_partition AND s.next_offset = p.expected_offset
RETURNING s.log_partition;


-- name: forget_former_lives
-- Delete the rows of former lives of ids that are used again: tasks ($1) that were created
-- at another time ($2) and whose last event is before the last one of the new life ($3), and
-- attempts from before the created event of the new life ($4; null: not in this batch).
WITH begun AS (
    SELECT *
    FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[])
        AS b (id, created_at, event_offset, born_offset)
),
former_attempts AS (
    DELETE FROM ai_orchestrator.task_steps s
    USING begun b
    WHERE s.task_id = b.id AND s.event_offset < b.born_offset
)
DELETE FROM ai_orchestrator.tasks t
USING begun b
WHERE t.id = b.id
  AND t.created_at <> ai_orchestrator.from_millis(b.created_at)
  AND t.event_offset < b.event_offset;


-- name: upsert_steps
-- Write attempts (StepRow). Values that the batch does not have, and rows of later events, stay.
INSERT INTO ai_orchestrator.task_steps AS s ({StepRow.columns})
SELECT {StepRow.values}
FROM {StepRow.rows}
ON CONFLICT (task_id, run, step, attempt) DO UPDATE SET
    lane            = coalesce(excluded.lane, s.lane),
    status          = excluded.status,
    input           = coalesce(excluded.input, s.input),
    output          = coalesce(excluded.output, s.output),
    substeps        = coalesce(excluded.substeps, s.substeps),
    error_code      = coalesce(excluded.error_code, s.error_code),
    error_message   = coalesce(excluded.error_message, s.error_message),
    error_category  = coalesce(excluded.error_category, s.error_category),
    error_retriable = coalesce(excluded.error_retriable, s.error_retriable),
    error_service   = coalesce(excluded.error_service, s.error_service),
    usage_model     = coalesce(excluded.usage_model, s.usage_model),
    input_tokens    = coalesce(excluded.input_tokens, s.input_tokens),
    output_tokens   = coalesce(excluded.output_tokens, s.output_tokens),
    cost_micros     = coalesce(excluded.cost_micros, s.cost_micros),
    usage_estimated = coalesce(excluded.usage_estimated, s.usage_estimated),
    worker          = coalesce(excluded.worker, s.worker),
    dispatched_at   = coalesce(s.dispatched_at, excluded.dispatched_at),
    started_at      = coalesce(excluded.started_at, s.started_at),
    completed_at    = coalesce(excluded.completed_at, s.completed_at),
    next_attempt_at = coalesce(excluded.next_attempt_at, s.next_attempt_at),
    event_offset    = excluded.event_offset
WHERE s.event_offset < excluded.event_offset;


-- name: change_tasks
-- Apply later events to tasks that began in an earlier batch (ChangeRow); a missing task is not
-- created. These events do not have the creation time, which would name the month: the id is
-- looked up in every month.
UPDATE ai_orchestrator.tasks AS t SET
    status          = coalesce(p.status, t.status),
    phase           = p.phase,
    priority        = p.priority,
    output          = p.output,
    steps           = coalesce(made.steps, t.steps),
    updated_at      = ai_orchestrator.from_millis(p.updated_at),
    started_at      = coalesce(t.started_at, ai_orchestrator.from_millis(p.started_at)),
    completed_at    = ai_orchestrator.from_millis(p.completed_at),
    sequence        = p.sequence,
    error_code      = p.error_code,
    error_message   = p.error_message,
    error_category  = p.error_category,
    error_retriable = p.error_retriable,
    error_service   = p.error_service,
    error_step      = p.error_step,
    error_attempt   = p.error_attempt,
    usage_model     = CASE WHEN p.input_tokens IS NULL THEN t.usage_model ELSE p.usage_model END,
    input_tokens    = coalesce(p.input_tokens, t.input_tokens),
    output_tokens   = coalesce(p.output_tokens, t.output_tokens),
    cost_micros     = coalesce(p.cost_micros, t.cost_micros),
    usage_estimated = coalesce(p.usage_estimated, t.usage_estimated),
    event_offset    = p.event_offset
FROM {ChangeRow.rows}
LEFT JOIN LATERAL ai_orchestrator.steps_of(p.id, p.run) AS made ON p.steps_changed
WHERE t.id = p.id AND t.event_offset < p.event_offset;


-- name: refuse_tasks
-- Count refusals (RefusalRow): a refused command changes only the sequence of its task.
UPDATE ai_orchestrator.tasks AS t SET
    sequence     = p.sequence,
    event_offset = p.event_offset
FROM {RefusalRow.rows}
WHERE t.id = p.id AND t.event_offset < p.event_offset;


-- name: begin_tasks
-- Write tasks whose life or run begins in this batch (TaskRow).
INSERT INTO ai_orchestrator.tasks AS t (steps, {TaskRow.columns})
SELECT made.steps, {TaskRow.values}
FROM {TaskRow.rows}
CROSS JOIN LATERAL ai_orchestrator.steps_of(p.id, p.run) AS made
ON CONFLICT (id, created_at) DO UPDATE SET
    steps = excluded.steps,
    {TaskRow.excluded(id, created_at, event_partition)}
WHERE t.event_offset < excluded.event_offset;


-- name: read_task_heads
-- What counts need of tasks ($1) that began in an earlier batch, as their rows are before this one.
SELECT DISTINCT ON (id) id, type,
    (extract(epoch FROM created_at) * 1000)::bigint AS created_at,
    (extract(epoch FROM started_at) * 1000)::bigint AS started_at
FROM ai_orchestrator.tasks
WHERE id = ANY ($1::text[])
ORDER BY id, event_offset DESC;


-- name: add_counts
-- Add what a batch counted (CountRow). The caller has locked the positions of the partitions.
INSERT INTO ai_orchestrator.metric_counts AS c ({CountRow.columns})
SELECT {CountRow.values}
FROM {CountRow.rows}
ON CONFLICT (log_partition, metric, labels, bucket) DO UPDATE SET
    events = c.events + excluded.events,
    total  = c.total + excluded.total;


-- name: read_counts
-- The exported counts of partitions ($1); the metrics in $2 are not exported.
SELECT {CountRow.columns}
FROM ai_orchestrator.metric_counts
WHERE log_partition = ANY ($1::integer[]) AND metric <> ALL ($2::text[]);


-- name: read_tenant_usage
-- What each tenant used in all partitions; $1 and $2 are the metrics of cost and tokens.
SELECT labels ->> 'tenant' AS tenant_id,
    coalesce(sum(total) FILTER (WHERE metric = $1), 0) AS cost_micros,
    coalesce(sum(total) FILTER (WHERE metric = $2), 0) AS tokens
FROM ai_orchestrator.metric_counts
WHERE metric IN ($1, $2)
GROUP BY 1;


-- name: read_counted_models
-- The models that are counted by name; $1 is the metric of tokens.
SELECT DISTINCT labels ->> 'model' AS model
FROM ai_orchestrator.metric_counts
WHERE metric = $1;


-- name: append_logs
-- Append events to the audit trail (LogRow); an existing one is left alone.
INSERT INTO ai_orchestrator.task_execution_logs ({LogRow.columns})
SELECT {LogRow.values}
FROM {LogRow.rows}
ON CONFLICT (log_partition, event_offset, created_at) DO NOTHING;


-- name: ensure_months
-- Create the missing partitions of months ($1: any day of each); returns the months created.
SELECT month FROM unnest($1::date[]) AS months (month)
WHERE ai_orchestrator.ensure_month(month);


-- name: months_ahead
-- The current month (UTC, by the server's clock) and the next $1.
SELECT (date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => n))::date AS month
FROM generate_series(0, $1::integer) AS n;


-- name: set_lock_timeout
-- How long the session's statements wait for a lock ($1, with its unit).
SELECT set_config('lock_timeout', $1, false);


-- name: lock_migrations
-- Wait for the session lock under which migrations run; lock_timeout limits the wait.
SELECT pg_advisory_lock(hashtextextended('ai_orchestrator.migrations', 0));


-- name: unlock_migrations
-- Release the lock.
SELECT pg_advisory_unlock(hashtextextended('ai_orchestrator.migrations', 0));


-- name: create_migrations_table
-- Create the table of applied migrations.
DO $$
BEGIN
    -- Not IF NOT EXISTS: that needs the right to create schemas even if the schema exists.
    IF to_regnamespace('ai_orchestrator') IS NULL THEN
        CREATE SCHEMA ai_orchestrator;
    END IF;
    IF to_regclass('ai_orchestrator.schema_migrations') IS NULL THEN
        CREATE TABLE ai_orchestrator.schema_migrations (
            name       text        NOT NULL PRIMARY KEY,
            checksum   text        NOT NULL,
            applied_at timestamptz NOT NULL DEFAULT now()
        );
    END IF;
END
$$;


-- name: migrations_table_exists
-- Whether any migration was ever run in this database.
SELECT to_regclass('ai_orchestrator.schema_migrations') IS NOT NULL;


-- name: read_migrations
-- The applied migrations, with their checksums at that time.
SELECT name, checksum, applied_at FROM ai_orchestrator.schema_migrations ORDER BY name;


-- name: record_migration
-- Note that a migration ($1, checksum $2) was applied, in its own transaction.
INSERT INTO ai_orchestrator.schema_migrations (name, checksum) VALUES ($1, $2);


-- name: analyst_statements
-- The statements that make a role ($1) a reader of the tables for analysts, in their order.
SELECT format('CREATE ROLE %I NOLOGIN', $1::text) AS statement
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = $1)
UNION ALL
SELECT format(wanted, $1::text)
FROM unnest(ARRAY[
    'GRANT USAGE ON SCHEMA ai_orchestrator TO %I',
    'GRANT SELECT ON ai_orchestrator.tasks, ai_orchestrator.task_steps, ai_orchestrator.task_execution_logs, ai_orchestrator.sink_offsets TO %I'
]) AS wanted;


-- name: read_stored_names
-- The names in the newest tasks, of at most $1 tenants and types, without tasks that have no step.
SELECT DISTINCT ON (n.tenant_id, n.type)
    n.type, n.tenant_id, n.conversation_id, n.user_id, n.pipeline, n.pipeline_version,
    s.step, s.service
FROM (SELECT * FROM ai_orchestrator.tasks ORDER BY created_at DESC LIMIT 200) n
CROSS JOIN LATERAL (
    SELECT step, service FROM ai_orchestrator.task_steps WHERE task_id = n.id LIMIT 1
) s
ORDER BY n.tenant_id, n.type
LIMIT $1;
