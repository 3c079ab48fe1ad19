-- Statements of the sink and the migrations; reads/queries.sql has those of readers, batch.sql those
-- that write rows.


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


-- name: read_task_heads
-- What counts need of tasks ($1) that began in an earlier batch, as their rows are before this one.
SELECT DISTINCT ON (id) id, type,
    (extract(epoch FROM created_at) * 1000)::bigint AS created_at,
    (extract(epoch FROM started_at) * 1000)::bigint AS started_at
FROM ai_orchestrator.tasks
WHERE id = ANY ($1::text[])
ORDER BY id, event_offset DESC;


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
