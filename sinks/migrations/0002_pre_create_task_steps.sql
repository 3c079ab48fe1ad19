-- 0002: task_steps: one row for each attempt of a step; steps_of(): a task's steps.
--
-- Why: the whole history of a task's work, also of attempts and runs that failed;
-- tasks.steps holds the last attempt of each step, and is built from here.
-- The key is what names an attempt everywhere (task_id/run/step/attempt), so an attempt
-- that is written again meets its own row.
--
-- Locks: none on existing tables. Safe before the new code runs.
-- Down: drops the attempts; they come back when the log is written again.

-- migrate:up
CREATE TABLE ai_orchestrator.task_steps (
    task_id         varchar(64) NOT NULL,
    run             integer     NOT NULL,
    step            text        NOT NULL,
    attempt         integer     NOT NULL,
    step_index      integer     NOT NULL,               -- place in the pipeline, from 0
    tenant_id       varchar(64) NOT NULL,
    command_id      text        NOT NULL,
    service         text        NOT NULL,
    lane            text,
    status          varchar(20) NOT NULL,               -- pending, then what the events say
    input           jsonb,                              -- null: as of the first attempt
    output          jsonb,
    substeps        jsonb,                              -- iterations; their times are Unix ms
    error_code      text,
    error_message   text,
    error_category  text,
    error_retriable boolean,
    error_service   text,
    usage_model     text,
    input_tokens    bigint,                             -- null: no usage was reported
    output_tokens   bigint,
    cost_micros     bigint,                             -- micro-USD
    usage_estimated boolean,
    worker          text,
    dispatched_at   timestamptz,                        -- when it was decided
    started_at      timestamptz,
    completed_at    timestamptz,
    next_attempt_at timestamptz,
    duration_ms     bigint GENERATED ALWAYS AS
                    ((extract(epoch FROM completed_at - started_at) * 1000)::bigint) STORED,
    event_offset    bigint      NOT NULL,               -- of its last event in task-events

    CONSTRAINT task_steps_pkey PRIMARY KEY (task_id, run, step, attempt)
);

-- What tasks.steps holds: of each step the last attempt, in the pipeline's order. Steps of
-- earlier runs count up to where the present run began again. One row; a table function,
-- because only such a one is inlined into the statement that calls it for many tasks.
CREATE FUNCTION ai_orchestrator.steps_of(of_task varchar, present_run integer)
    RETURNS TABLE (steps jsonb)
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT coalesce(jsonb_agg(jsonb_build_object(
        'id', s.command_id,
        'name', s.step,
        'service', s.service,
        'run', s.run,
        'attempt', s.attempt,
        'status', s.status,
        'input', coalesce(s.input, (
            SELECT f.input FROM ai_orchestrator.task_steps f
            WHERE f.task_id = s.task_id AND f.run = s.run AND f.step = s.step AND f.attempt = 1
        )),
        'output', s.output,
        'error', CASE WHEN s.error_code IS NOT NULL THEN jsonb_build_object(
            'code', s.error_code,
            'message', s.error_message,
            'category', s.error_category,
            'retriable', s.error_retriable,
            'service', s.error_service
        ) END,
        'usage', CASE WHEN s.input_tokens IS NOT NULL THEN jsonb_build_object(
            'model', s.usage_model,
            'input_tokens', s.input_tokens,
            'output_tokens', s.output_tokens,
            'cost_micros', s.cost_micros,
            'estimated', s.usage_estimated
        ) END,
        'substeps', coalesce(s.substeps, '[]'),
        'started_at', s.started_at,
        'completed_at', s.completed_at,
        'duration_ms', s.duration_ms
    ) ORDER BY s.step_index, s.step), '[]')
    FROM (
        SELECT DISTINCT ON (a.step) a.*
        FROM ai_orchestrator.task_steps a
        WHERE a.task_id = of_task AND a.run <= present_run
        ORDER BY a.step, a.run DESC, a.attempt DESC
    ) s
    WHERE s.run = present_run OR s.step_index < ALL (
        SELECT p.step_index FROM ai_orchestrator.task_steps p
        WHERE p.task_id = of_task AND p.run = present_run
    );
END;

-- migrate:down
DROP FUNCTION ai_orchestrator.steps_of(varchar, integer);
DROP TABLE ai_orchestrator.task_steps;
