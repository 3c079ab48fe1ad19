-- The service's queries of the dead-letter index: the letters of one tenant, in pages, with the
-- status that they are shown with. Every statement reads from which_letters, which stands for
-- the first statement and brings its parameters $1 to $15.


-- name: which_letters
-- The letters of a tenant ($1; null: of all), with $2 also letters without a known tenant, with the same status
-- as in tasks/letters/known.py: replays of the record before it became this letter count, and a
-- letter whose $15 replays are used up is parked. A filter applies if it is not null; a letter
-- must have one of its values: $3 topic, $4 task, $5 type, $6 step,
-- $7 service, $8 stage, $9 class, $10 code, $11 exception, $12 status; $13 <= dead-lettered <
-- $14, Unix milliseconds.
-- Must be planned for its values (sinks/pool.py): only then is a null filter left out of the plan.
SELECT * FROM (
    SELECT
        id, topic, origin_partition, origin_offset,
        (extract(epoch FROM original_at) * 1000)::bigint AS original_at,
        dlq_partition, dlq_offset, dead_lettered_at AS failed_at,
        (extract(epoch FROM dead_lettered_at) * 1000)::bigint AS dead_lettered_at,
        consumer_group, stage, failure_class, code, message, exception, delivery_count, task_id,
        tenant_id, task_type, step, service, run, traceparent, carried_replays, replay_of, status,
        status_reason, status_by, (extract(epoch FROM status_at) * 1000)::bigint AS status_at,
        counted AS replays, replay_id, sent_topic, sent_partition, sent_offset, sha256, mended,
        CASE WHEN status = 'open' AND counted >= $15::integer AND NOT mended THEN 'parked'
            ELSE status
        END AS shown_status
    FROM (
        SELECT
            d.*,
            greatest(
                d.replays,
                CASE WHEN d.stage = 'execute' AND d.run IS NOT NULL AND d.task_id IS NOT NULL
                    THEN (
                        SELECT b.replays
                        FROM ai_orchestrator.dead_letters b
                        WHERE b.task_id = d.task_id AND b.run = d.run - 1 AND b.stage = 'execute'
                        LIMIT 1
                    )
                    ELSE d.carried_replays
                END
            ) AS counted
        FROM ai_orchestrator.dead_letters d
        WHERE d.topic IS NOT NULL
            AND ($1::text IS NULL OR d.tenant_id = $1 OR ($2::boolean AND d.tenant_id IS NULL))
            AND ($3::text[] IS NULL OR d.topic = ANY ($3))
            AND ($4::text[] IS NULL OR d.task_id = ANY ($4))
            AND ($5::text[] IS NULL OR d.task_type = ANY ($5))
            AND ($6::text[] IS NULL OR d.step = ANY ($6))
            AND ($7::text[] IS NULL OR d.service = ANY ($7))
            AND ($8::text[] IS NULL OR d.stage = ANY ($8))
            AND ($9::text[] IS NULL OR d.failure_class = ANY ($9))
            AND ($10::text[] IS NULL OR d.code = ANY ($10))
            AND ($11::text[] IS NULL OR d.exception = ANY ($11))
            AND ($13::bigint IS NULL
                OR d.dead_lettered_at >= ai_orchestrator.from_millis($13))
            AND ($14::bigint IS NULL
                OR d.dead_lettered_at < ai_orchestrator.from_millis($14))
    ) AS counted_letters
) AS letters
WHERE $12::text[] IS NULL OR shown_status = ANY ($12);


-- name: newest_letters
-- A page, newest first: letters after the position $16, $17 (Unix milliseconds and id of the last
-- letter of the previous page; nulls for the first page), at most $18.
SELECT * FROM which_letters
WHERE $16::bigint IS NULL
    OR (failed_at, id) < (ai_orchestrator.from_millis($16), $17::text)
ORDER BY failed_at DESC, id DESC
LIMIT $18::integer;


-- name: oldest_letters
-- As newest_letters, oldest first: the order in which letters are replayed.
SELECT * FROM which_letters
WHERE $16::bigint IS NULL
    OR (failed_at, id) > (ai_orchestrator.from_millis($16), $17::text)
ORDER BY failed_at, id
LIMIT $18::integer;


-- name: letters_by_id
-- These letters ($16), and those that their tasks' steps left in the previous run, from which the
-- count of replays continues.
SELECT * FROM which_letters
WHERE id IN (
    SELECT unnest($16::text[])
    UNION
    SELECT b.id
    FROM ai_orchestrator.dead_letters d
    JOIN ai_orchestrator.dead_letters b
        ON b.task_id = d.task_id AND b.run = d.run - 1 AND b.stage = 'execute'
    WHERE d.id = ANY ($16) AND d.stage = 'execute'
);


-- name: related_letters
-- The earlier and later letters of a letter ($16), and the others of its task; newest first,
-- at most $17.
SELECT * FROM which_letters
WHERE id <> $16::text AND id IN (
    SELECT o.replay_of FROM ai_orchestrator.dead_letters o WHERE o.id = $16
    UNION
    SELECT r.id FROM ai_orchestrator.dead_letters r WHERE r.replay_of = $16
    UNION
    SELECT t.id
    FROM ai_orchestrator.dead_letters o
    JOIN ai_orchestrator.dead_letters t ON t.task_id = o.task_id
    WHERE o.id = $16
)
ORDER BY failed_at DESC, id DESC
LIMIT $17::integer;


-- name: count_letters
-- Counts by one field ($16), with the first and the last time in Unix milliseconds; the
-- largest counts, at most $17.
SELECT
    coalesce(nullif(
        CASE $16::text
            WHEN 'topic' THEN topic
            WHEN 'code' THEN code
            WHEN 'step' THEN step
            WHEN 'service' THEN service
            WHEN 'status' THEN shown_status
            WHEN 'hour' THEN to_char(failed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:00"Z"')
        END, ''), '-') AS value,
    count(*) AS count,
    min(dead_lettered_at) AS first_at,
    max(dead_lettered_at) AS last_at
FROM which_letters
GROUP BY 1
ORDER BY 2 DESC, 1
LIMIT $17::integer;
