-- Statements of `orchestrator sink rebuild`, `verify` and `retention`.
-- `ai_orchestrator_rebuild` is the table set that is built from the log, see sinks/table_set.py.


-- name: try_lock_rebuild
-- Take the session lock under which table sets are built; false: another session has it.
SELECT pg_try_advisory_lock(hashtextextended('ai_orchestrator.rebuild', 0));


-- name: read_all_positions
-- The position up to which every partition of task-events was written.
SELECT log_partition, next_offset, epoch, owner FROM ai_orchestrator.sink_offsets;


-- name: hold_positions
-- Keep all writers from moving or creating a position until the transaction ends. Readers go on.
LOCK TABLE ai_orchestrator.sink_offsets IN SHARE ROW EXCLUSIVE MODE;


-- name: whole_tasks
-- The tasks that are folded whole: the log that was read holds their created event.
CREATE TEMPORARY TABLE whole_tasks ON COMMIT DROP AS
SELECT DISTINCT task_id AS id
FROM ai_orchestrator_rebuild.task_execution_logs
WHERE event_type = 'created';


-- name: log_bounds
-- The beginning of the log that was read: partitions ($1) and first offsets ($2).
CREATE TEMPORARY TABLE log_bounds (log_partition integer PRIMARY KEY, first_offset bigint NOT NULL)
ON COMMIT DROP;


-- name: fill_log_bounds
-- Fill log_bounds.
INSERT INTO log_bounds SELECT * FROM unnest($1::integer[], $2::bigint[]);


-- name: ensure_rebuilt_months
-- Create the month partitions of all built rows that the projection lacks.
SELECT ai_orchestrator.ensure_month(month)
FROM (
    SELECT date_trunc('month', created_at AT TIME ZONE 'UTC')::date AS month
    FROM ai_orchestrator_rebuild.tasks
    UNION
    SELECT date_trunc('month', created_at AT TIME ZONE 'UTC')::date
    FROM ai_orchestrator_rebuild.task_execution_logs
) AS months
ORDER BY month;


-- name: drop_old_tasks
-- Delete the rows of whole tasks that differ from the built ones, including former lives.
DELETE FROM ai_orchestrator.tasks t
USING whole_tasks w
WHERE t.id = w.id AND NOT EXISTS (
    SELECT FROM ai_orchestrator_rebuild.tasks n
    WHERE n.id = t.id AND n.created_at = t.created_at AND to_jsonb(n) = to_jsonb(t)
);


-- name: drop_old_steps
-- Delete the attempts of whole tasks that differ from the built ones.
DELETE FROM ai_orchestrator.task_steps s
USING whole_tasks w
WHERE s.task_id = w.id AND NOT EXISTS (
    SELECT FROM ai_orchestrator_rebuild.task_steps n
    WHERE n.task_id = s.task_id AND n.run = s.run AND n.step = s.step AND n.attempt = s.attempt
      AND to_jsonb(n) = to_jsonb(s)
);


-- name: drop_old_logs
-- Delete the trail of whole tasks where it differs, within the part of the log that was read.
DELETE FROM ai_orchestrator.task_execution_logs l
USING whole_tasks w, log_bounds b
WHERE l.task_id = w.id AND l.log_partition = b.log_partition AND l.event_offset >= b.first_offset
  AND NOT EXISTS (
    SELECT FROM ai_orchestrator_rebuild.task_execution_logs n
    WHERE n.log_partition = l.log_partition AND n.event_offset = l.event_offset
      AND n.created_at = l.created_at AND to_jsonb(n) - 'id' = to_jsonb(l) - 'id'
);


-- name: insertable_columns
-- The columns of a table ($1) that accept values: neither generated nor an identity.
SELECT quote_ident(attname)
FROM pg_attribute
WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped
  AND attgenerated = '' AND attidentity = ''
ORDER BY attnum;


-- name: set_position
-- Set a partition ($1) to $2, $3, $4 (next offset, epoch, owner), whatever its position is.
INSERT INTO ai_orchestrator.sink_offsets (log_partition, next_offset, epoch, owner)
VALUES ($1, $2, $3, $4)
ON CONFLICT (log_partition) DO UPDATE SET
    next_offset = excluded.next_offset,
    epoch       = excluded.epoch,
    owner       = excluded.owner,
    updated_at  = now();


-- name: differing_counts
-- Of partitions ($1) that were counted from their beginning, those whose counts differ from the
-- built ones. Names of tenants and models do not matter: writers choose them as they go.
WITH sums AS (
    SELECT 0 AS side, log_partition, metric, labels - 'tenant_id' - 'model' AS labels, bucket,
        events, total
    FROM ai_orchestrator.metric_counts
    UNION ALL
    SELECT 1, log_partition, metric, labels - 'tenant_id' - 'model', bucket, events, total
    FROM ai_orchestrator_rebuild.metric_counts
),
differing AS (
    SELECT log_partition
    FROM sums
    GROUP BY log_partition, metric, labels, bucket
    HAVING sum(events) FILTER (WHERE side = 0) IS DISTINCT FROM sum(events) FILTER (WHERE side = 1)
        OR sum(total) FILTER (WHERE side = 0) IS DISTINCT FROM sum(total) FILTER (WHERE side = 1)
)
SELECT DISTINCT log_partition
FROM differing
JOIN ai_orchestrator.sink_offsets o USING (log_partition)
WHERE log_partition = ANY ($1::integer[]) AND o.counted_from = 0;


-- name: drop_counts
-- Delete the counts of partitions ($1).
DELETE FROM ai_orchestrator.metric_counts WHERE log_partition = ANY ($1::integer[]);


-- name: add_built_counts
-- Add the built counts of partitions ($1) to the stored ones.
INSERT INTO ai_orchestrator.metric_counts AS c ({CountRow.columns})
SELECT {CountRow.columns}
FROM ai_orchestrator_rebuild.metric_counts
WHERE log_partition = ANY ($1::integer[])
ON CONFLICT (log_partition, metric, labels, bucket) DO UPDATE SET
    events = c.events + excluded.events,
    total  = c.total + excluded.total;


-- name: set_counted_from
-- Note from which offset ($2) partitions ($1) are counted; null: from the next batch on.
UPDATE ai_orchestrator.sink_offsets SET counted_from = $2 WHERE log_partition = ANY ($1::integer[]);


-- name: read_counted_whole
-- The partitions whose counts hold all that was ever written.
SELECT log_partition FROM ai_orchestrator.sink_offsets WHERE counted_from = 0;


-- name: sum_counts
-- The counts of partitions ($1) without the names of tenants and models.
SELECT log_partition, metric, (labels - 'tenant_id' - 'model')::text AS labels, bucket,
    sum(events)::text || '/' || sum(total)::text AS counted
FROM ai_orchestrator.metric_counts
WHERE log_partition = ANY ($1::integer[])
GROUP BY 1, 2, 3, 4;


-- name: digests
-- One line for each row of the projection, sorted by task: its identity, and a digest of its
-- values without identities and write times. Partitions ($1) and first offsets ($2) of the log:
-- the trail before them is left out. `created`: true for the row of the created event.
SELECT id, kind, place, digest, log_partition, event_offset, created
FROM (
    SELECT id COLLATE "C" AS id, 'task' AS kind, created_at::text AS place,
        -- Rows of earlier versions hold large documents of steps, too.
        md5((to_jsonb(t) || jsonb_build_object('steps', ai_orchestrator.small_steps(steps)))::text)
            AS digest,
        event_partition AS log_partition, event_offset,
        false AS created
    FROM ai_orchestrator.tasks t
    UNION ALL
    SELECT task_id COLLATE "C", 'step', run || '/' || step || '/' || attempt,
        md5(to_jsonb(s)::text), NULL, event_offset, false
    FROM ai_orchestrator.task_steps s
    UNION ALL
    SELECT l.task_id COLLATE "C", 'event', l.log_partition || '/' || l.event_offset,
        md5((to_jsonb(l) - 'id')::text), l.log_partition, l.event_offset,
        l.event_type = 'created'
    FROM ai_orchestrator.task_execution_logs l
    JOIN unnest($1::integer[], $2::bigint[]) AS b (log_partition, first_offset)
        ON l.log_partition = b.log_partition AND l.event_offset >= b.first_offset
) AS rows
ORDER BY id, kind COLLATE "C", place COLLATE "C";


-- name: old_months
-- The months before $1 that have partitions of a table ($2), oldest first. An interrupted run
-- may have left a month that is detached, or being detached.
SELECT c.relname AS name, i.inhrelid IS NOT NULL AS attached,
    coalesce(i.inhdetachpending, false) AS pending
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'ai_orchestrator'
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
WHERE c.relkind = 'r' AND c.relname ~ ('^' || $2::text || '_y[0-9]+m[0-9]{2}$')
  AND to_date(substring(c.relname FROM '_y(.*)$'), 'YYYY"m"MM') < $1::date
ORDER BY to_date(substring(c.relname FROM '_y(.*)$'), 'YYYY"m"MM');


-- name: tasks_without_rows
-- Tasks without a row: of those that routers remember ($1, created at $2), and of those whose
-- later events the log holds without the first one. Tasks of dropped months are not included.
WITH months AS (
    SELECT min(to_date(substring(c.relname FROM '_y(.*)$'), 'YYYY"m"MM')) AS oldest
    FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'ai_orchestrator.tasks'::regclass
),
known AS (
    SELECT k.id COLLATE "C" AS id
    FROM unnest($1::text[], $2::bigint[]) AS k (id, created_at), months
    WHERE ai_orchestrator.from_millis(k.created_at) >= months.oldest::timestamp AT TIME ZONE 'UTC'
    UNION
    SELECT l.task_id COLLATE "C"
    FROM ai_orchestrator_rebuild.task_execution_logs l
    GROUP BY l.task_id
    HAVING NOT bool_or(l.event_type = 'created')
)
SELECT known.id
FROM known
WHERE NOT EXISTS (SELECT FROM ai_orchestrator.tasks t WHERE t.id = known.id)
ORDER BY known.id;
