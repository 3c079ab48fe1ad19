-- 0001: the schema, and tasks: one row for each task, the fold of its events.
--
-- Why: answers every question about tasks that are not in the API's memory. A projection:
-- it can be dropped and written again from the log.
-- The primary key holds created_at because a partitioned table's key must hold its
-- partition key; one id has one row, since all events of a task are written by the owner
-- of one log partition, and a second life of an id replaces the first.
-- There is no default partition: attaching a month would have to lock and scan it. Months
-- are made before their first row (0005).
--
-- Locks: none on existing tables. Safe before the new code runs.
-- Down: drops all tasks; they come back when the log is written again.

-- migrate:up
DO $$
BEGIN
    -- Not IF NOT EXISTS: that needs the right to create schemas even when it is there.
    IF to_regnamespace('ai_orchestrator') IS NULL THEN
        CREATE SCHEMA ai_orchestrator;
    END IF;
END
$$;

-- Times are Unix milliseconds on the wire; null stays null. Immutable, so that it is inlined.
CREATE FUNCTION ai_orchestrator.from_millis(millis bigint) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN to_timestamp(millis / 1000::double precision);

CREATE TABLE ai_orchestrator.tasks (
    id               varchar(64) NOT NULL,
    type             varchar(64) NOT NULL,              -- names a pipeline
    status           varchar(20) NOT NULL,
    phase            text        NOT NULL,              -- finer than status; free to grow
    priority         integer     NOT NULL,
    conversation_id  varchar(64),
    user_id          varchar(64),
    tenant_id        varchar(64) NOT NULL,
    input            jsonb       NOT NULL,
    output           jsonb,
    steps            jsonb       NOT NULL,              -- the last attempt of each step
    metadata         jsonb       NOT NULL,
    created_at       timestamptz NOT NULL,              -- when its created event occurred
    updated_at       timestamptz NOT NULL,              -- when its last event occurred
    started_at       timestamptz,                       -- first start in the present run
    completed_at     timestamptz,                       -- when the present run ended, well or not
    duration_ms      bigint GENERATED ALWAYS AS
                     ((extract(epoch FROM completed_at - started_at) * 1000)::bigint) STORED,
    deadline_at      timestamptz NOT NULL,
    pipeline         text        NOT NULL,
    pipeline_version integer     NOT NULL,
    run              integer     NOT NULL,
    sequence         bigint      NOT NULL,              -- of its last event, from 1
    idempotency_key  text,
    error_code       text,
    error_message    text,
    error_category   text,
    error_retriable  boolean,
    error_service    text,
    error_step       text,
    error_attempt    integer,
    usage_model      text,
    input_tokens     bigint      NOT NULL DEFAULT 0,
    output_tokens    bigint      NOT NULL DEFAULT 0,
    cost_micros      bigint      NOT NULL DEFAULT 0,    -- micro-USD
    usage_estimated  boolean     NOT NULL DEFAULT false,
    event_partition  integer     NOT NULL,              -- of task-events
    event_offset     bigint      NOT NULL,              -- of its last event there

    CONSTRAINT tasks_pkey PRIMARY KEY (id, created_at),
    CONSTRAINT tasks_status_known
        CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled')),
    CONSTRAINT tasks_priority_range CHECK (priority BETWEEN 0 AND 10)
) PARTITION BY RANGE (created_at);

CREATE INDEX idx_type         ON ai_orchestrator.tasks (type);
CREATE INDEX idx_status       ON ai_orchestrator.tasks (status);
CREATE INDEX idx_priority     ON ai_orchestrator.tasks (priority);
CREATE INDEX idx_conversation ON ai_orchestrator.tasks (conversation_id);
CREATE INDEX idx_user         ON ai_orchestrator.tasks (user_id);
CREATE INDEX idx_tenant       ON ai_orchestrator.tasks (tenant_id);
CREATE INDEX idx_created_at   ON ai_orchestrator.tasks (created_at);
-- A tenant's tasks by status.
CREATE INDEX idx_tasks_tenant_status ON ai_orchestrator.tasks (tenant_id, status);
-- What waits, in the order in which it would be served.
CREATE INDEX idx_tasks_status_priority
    ON ai_orchestrator.tasks (status, priority DESC, created_at ASC);
-- Containment only (metadata @> '{"k": "v"}'): smaller and faster than the default class.
CREATE INDEX idx_tasks_metadata ON ai_orchestrator.tasks USING gin (metadata jsonb_path_ops);

-- migrate:down
DROP TABLE ai_orchestrator.tasks;
DROP FUNCTION ai_orchestrator.from_millis(bigint);
