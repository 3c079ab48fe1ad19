-- The statements of the dead-letter index, and of replays into the sink. Rows come as one JSON text
-- (sinks/row_sql.py); times are Unix milliseconds.


-- name: lock_position
-- The position up to which a partition of task-events ($1) was written. The sink's writes to it
-- wait until this transaction ends.
SELECT next_offset FROM ai_orchestrator.sink_offsets WHERE log_partition = $1 FOR UPDATE;


-- name: written_events
-- Which offsets ($2) of a partition ($1) the trail holds.
SELECT event_offset
FROM ai_orchestrator.task_execution_logs
WHERE log_partition = $1 AND event_offset = ANY ($2::bigint[]);


-- name: delete_tasks
-- Delete the rows of tasks ($1) that are written again in this transaction. Their trail stays.
WITH attempts AS (
    DELETE FROM ai_orchestrator.task_steps WHERE task_id = ANY ($1::text[])
)
DELETE FROM ai_orchestrator.tasks WHERE id = ANY ($1::text[]);


-- name: read_index_positions
-- The offsets up to which topics ($1) were indexed in this partition ($2). No row: never indexed.
SELECT topic, next_offset
FROM ai_orchestrator.dlq_index_offsets
WHERE topic = ANY ($1::text[]) AND log_partition = $2;


-- name: begin_index_position
-- Create the first row of a topic's ($1) partition ($2); returns it, or nothing if a row exists.
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
-- Write letters (LetterRow). A second copy of a letter changes nothing.
INSERT INTO ai_orchestrator.dead_letters AS d ({LetterRow.columns})
SELECT {LetterRow.values}
FROM {LetterRow.rows($1)}
ON CONFLICT (id) DO UPDATE SET
    {LetterRow.excluded(id)}
WHERE d.topic IS NULL;


-- name: read_states
-- The current states of letters ($1).
SELECT
    id, status, status_reason, status_by, (extract(epoch FROM status_at) * 1000)::bigint AS status_at,
    replays, replay_id, sent_topic, sent_partition, sent_offset, sha256, mended, action_offset
FROM ai_orchestrator.dead_letters
WHERE id = ANY ($1::text[]);


-- name: upsert_states
-- Write states of letters (StateRow); the last action in the ledger's order counts.
INSERT INTO ai_orchestrator.dead_letters AS d ({StateRow.columns})
SELECT {StateRow.values}
FROM {StateRow.rows($1)}
ON CONFLICT (id) DO UPDATE SET
    {StateRow.excluded(id)}
WHERE excluded.action_offset > d.action_offset;


-- name: find_gone_on
-- Letters that need no replay any more, because their task went on: a letter of a step, if its
-- task is in a later run; a letter of a new task's record ($1: task-created), if its task was
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


-- name: count_open
-- Letters on which nobody has acted, by the topic where they failed, with the age of the oldest.
SELECT topic, count(*) AS count,
    greatest(0, extract(epoch FROM now() - min(dead_lettered_at)))::double precision AS oldest_s
FROM ai_orchestrator.dead_letters
WHERE status = 'open' AND topic IS NOT NULL
GROUP BY topic;


-- name: find_successors
-- Those of these letters ($1) that failed again, each with the letter that it became.
SELECT replay_of, max(id) AS id
FROM ai_orchestrator.dead_letters
WHERE replay_of = ANY ($1::text[])
GROUP BY replay_of;


-- name: empty_index
-- Delete all letters and positions; the index agent fills both again from the topics.
TRUNCATE ai_orchestrator.dead_letters, ai_orchestrator.dlq_index_offsets;


-- name: read_letters
-- Every indexed letter with its state.
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
