-- The statements of the dead-letter index, and of replays into the sink. Batches come as
-- arrays of equal length, one for each column; times are Unix milliseconds.


-- name: lock_position
-- How far a partition of task-events ($1) was written; the sink's writes to it wait until
-- this transaction ends.
SELECT next_offset FROM ai_orchestrator.sink_offsets WHERE log_partition = $1 FOR UPDATE;


-- name: delete_tasks
-- Delete the rows of tasks ($1) that are written again in this transaction. Their trail stays.
WITH attempts AS (
    DELETE FROM ai_orchestrator.task_steps WHERE task_id = ANY ($1::text[])
)
DELETE FROM ai_orchestrator.tasks WHERE id = ANY ($1::text[]);


-- name: read_index_positions
-- How far topics ($1) were read into the index in this partition ($2). No row: never.
SELECT topic, next_offset
FROM ai_orchestrator.dlq_index_offsets
WHERE topic = ANY ($1::text[]) AND log_partition = $2;


-- name: begin_index_position
-- Make the first row of a topic's ($1) partition ($2); returns it, or nothing if there is one.
INSERT INTO ai_orchestrator.dlq_index_offsets (topic, log_partition, next_offset)
VALUES ($1, $2, $3)
ON CONFLICT (topic, log_partition) DO NOTHING
RETURNING topic;


-- name: move_index_position
-- Move a topic's ($1) partition ($2) to $3 if it is still at $4; returns it, or nothing.
UPDATE ai_orchestrator.dlq_index_offsets
SET next_offset = $3
WHERE topic = $1 AND log_partition = $2 AND next_offset = $4
RETURNING topic;


-- name: upsert_letters
-- Write what letters say (LetterRow). A second copy of a letter changes nothing.
INSERT INTO ai_orchestrator.dead_letters AS d (
    id, topic, origin_partition, origin_offset, original_at, dlq_partition, dlq_offset,
    dead_lettered_at, consumer_group, stage, failure_class, code, message, exception,
    delivery_count, task_id, tenant_id, task_type, step, service, run, traceparent,
    carried_replays, replay_of
)
SELECT
    id, topic, origin_partition, origin_offset,
    ai_orchestrator.from_millis(original_at), dlq_partition, dlq_offset,
    ai_orchestrator.from_millis(dead_lettered_at), consumer_group, stage, failure_class, code,
    message, exception, delivery_count, task_id, tenant_id, task_type, step, service, run,
    traceparent, carried_replays, replay_of
FROM unnest(
    $1::text[], $2::text[], $3::integer[], $4::bigint[], $5::bigint[], $6::integer[],
    $7::bigint[], $8::bigint[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[],
    $14::text[], $15::integer[], $16::text[], $17::text[], $18::text[], $19::text[],
    $20::text[], $21::integer[], $22::text[], $23::integer[], $24::text[]
) AS p (
    id, topic, origin_partition, origin_offset, original_at, dlq_partition, dlq_offset,
    dead_lettered_at, consumer_group, stage, failure_class, code, message, exception,
    delivery_count, task_id, tenant_id, task_type, step, service, run, traceparent,
    carried_replays, replay_of
)
ON CONFLICT (id) DO UPDATE SET
    topic            = excluded.topic,
    origin_partition = excluded.origin_partition,
    origin_offset    = excluded.origin_offset,
    original_at      = excluded.original_at,
    dlq_partition    = excluded.dlq_partition,
    dlq_offset       = excluded.dlq_offset,
    dead_lettered_at = excluded.dead_lettered_at,
    consumer_group   = excluded.consumer_group,
    stage            = excluded.stage,
    failure_class    = excluded.failure_class,
    code             = excluded.code,
    message          = excluded.message,
    exception        = excluded.exception,
    delivery_count   = excluded.delivery_count,
    task_id          = excluded.task_id,
    tenant_id        = excluded.tenant_id,
    task_type        = excluded.task_type,
    step             = excluded.step,
    service          = excluded.service,
    run              = excluded.run,
    traceparent      = excluded.traceparent,
    carried_replays  = excluded.carried_replays,
    replay_of        = excluded.replay_of
WHERE d.topic IS NULL;


-- name: read_entries
-- What was done with letters ($1) so far.
SELECT
    id, status, status_reason, status_by, (extract(epoch FROM status_at) * 1000)::bigint AS status_at,
    replays, replay_id, sent_topic, sent_partition, sent_offset, sha256, mended, action_offset
FROM ai_orchestrator.dead_letters
WHERE id = ANY ($1::text[]);


-- name: upsert_states
-- Write what was done with letters (EntryRow); the last action in the ledger's order counts.
INSERT INTO ai_orchestrator.dead_letters AS d (
    id, status, status_reason, status_by, status_at, replays, replay_id, sent_topic,
    sent_partition, sent_offset, sha256, mended, action_offset
)
SELECT
    id, status, status_reason, status_by, ai_orchestrator.from_millis(status_at), replays,
    replay_id, sent_topic, sent_partition, sent_offset, sha256, mended, action_offset
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::integer[], $7::text[],
    $8::text[], $9::integer[], $10::bigint[], $11::text[], $12::boolean[], $13::bigint[]
) AS p (
    id, status, status_reason, status_by, status_at, replays, replay_id, sent_topic,
    sent_partition, sent_offset, sha256, mended, action_offset
)
ON CONFLICT (id) DO UPDATE SET
    status         = excluded.status,
    status_reason  = excluded.status_reason,
    status_by      = excluded.status_by,
    status_at      = excluded.status_at,
    replays        = excluded.replays,
    replay_id      = excluded.replay_id,
    sent_topic     = excluded.sent_topic,
    sent_partition = excluded.sent_partition,
    sent_offset    = excluded.sent_offset,
    sha256         = excluded.sha256,
    mended         = excluded.mended,
    action_offset  = excluded.action_offset
WHERE excluded.action_offset > d.action_offset;


-- name: find_gone_on
-- Letters that nobody needs to replay any more, because their task went on: a step's, whose
-- task is in a later run; one of a new task's record ($1: task-created), whose task was
-- created after it. At most $2.
SELECT d.id, t.run, t.status
FROM ai_orchestrator.dead_letters d
JOIN ai_orchestrator.tasks t ON t.id = d.task_id
WHERE d.status IN ('open', 'replaying', 'parked')
  AND (
      (d.stage = 'execute' AND t.run > d.run)
      OR (d.topic = $1 AND t.created_at > d.dead_lettered_at)
  )
LIMIT $2;


-- name: find_sent
-- Replayed records whose outcome is not known; oldest first, at most $1. A step's letter is
-- closed by its task's next run instead.
SELECT id, consumer_group, sent_topic, sent_partition, sent_offset
FROM ai_orchestrator.dead_letters
WHERE status = 'replaying' AND topic IS NOT NULL AND run IS NULL AND sent_offset >= 0
ORDER BY status_at
LIMIT $1;


-- name: find_successors
-- Which of these letters ($1) failed again, as which letter.
SELECT replay_of, max(id) AS id
FROM ai_orchestrator.dead_letters
WHERE replay_of = ANY ($1::text[])
GROUP BY replay_of;


-- name: empty_index
-- Forget all letters and positions; the index agent fills both again from the topics.
TRUNCATE ai_orchestrator.dead_letters, ai_orchestrator.dlq_index_offsets;


-- name: read_letters
-- Every letter that was read, with what was done with it.
SELECT
    id, topic, origin_partition, origin_offset,
    (extract(epoch FROM original_at) * 1000)::bigint AS original_at,
    dlq_partition, dlq_offset,
    (extract(epoch FROM dead_lettered_at) * 1000)::bigint AS dead_lettered_at,
    consumer_group, stage, failure_class, code, message, exception, delivery_count, task_id,
    tenant_id, task_type, step, service, run, traceparent, carried_replays, replay_of, status,
    status_reason, status_by, (extract(epoch FROM status_at) * 1000)::bigint AS status_at,
    replays, replay_id, sent_topic, sent_partition, sent_offset, sha256, mended
FROM ai_orchestrator.dead_letters
WHERE topic IS NOT NULL;
