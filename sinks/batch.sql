-- The function that writes a batch: one call is one round trip, and one transaction. Each session
-- of a writer makes it for itself, so that it is always of the writer's version, and no migration
-- repeats the columns of sinks/columns.py. Rows are JSON texts of sinks/row_sql.py; null: no rows.
-- Times are Unix milliseconds.


-- name: create_write_batch
-- Write rows and move positions, all or nothing. Raises OR001 if a position is elsewhere.
CREATE OR REPLACE FUNCTION pg_temp.write_batch(
    begun_positions json, moved_positions json, counted json, begun json, attempts json,
    changed json, refused json, trail json
) RETURNS void LANGUAGE plpgsql AS $write_batch$
DECLARE
    moved integer;
BEGIN
    -- First rows of partitions. Counts go with the position: those of a partition whose position
    -- was deleted are deleted, because its events will be written and counted again.
    IF begun_positions IS NOT NULL THEN
        DELETE FROM ai_orchestrator.metric_counts AS c
        USING {PositionRow.rows(begun_positions)}
        WHERE c.log_partition = p.log_partition;

        INSERT INTO ai_orchestrator.sink_offsets
            (log_partition, next_offset, epoch, owner, counted_from)
        SELECT log_partition, next_offset, epoch, owner, 0
        FROM {PositionRow.rows(begun_positions)}
        ON CONFLICT (log_partition) DO NOTHING;

        GET DIAGNOSTICS moved = ROW_COUNT;
        IF moved < json_array_length(begun_positions) THEN
            RAISE EXCEPTION USING ERRCODE = 'OR001', MESSAGE = 'a position is elsewhere';
        END IF;
    END IF;

    -- Each partition, if it is still at its expected offset. Their rows stay locked until the
    -- transaction ends, so writers of one partition follow each other. A partition that was
    -- written without counts is counted from here on.
    IF moved_positions IS NOT NULL THEN
        UPDATE ai_orchestrator.sink_offsets AS s
        SET next_offset = p.next_offset, epoch = p.epoch, owner = p.owner, updated_at = now(),
            counted_from = coalesce(s.counted_from, p.expected_offset)
        FROM {PositionRow.rows(moved_positions)}
        WHERE s.log_partition = p.log_partition AND s.next_offset = p.expected_offset;

        GET DIAGNOSTICS moved = ROW_COUNT;
        IF moved < json_array_length(moved_positions) THEN
            RAISE EXCEPTION USING ERRCODE = 'OR001', MESSAGE = 'a position is elsewhere';
        END IF;
    END IF;

    IF counted IS NOT NULL THEN
        INSERT INTO ai_orchestrator.metric_counts AS c ({CountRow.columns})
        SELECT {CountRow.values}
        FROM {CountRow.rows(counted)}
        ON CONFLICT (log_partition, metric, labels, bucket) DO UPDATE SET
            events = c.events + excluded.events,
            total  = c.total + excluded.total;
    END IF;

    -- Former lives of ids that are used again: tasks that were created at another time and whose
    -- last event is before the last one of the new life, and attempts from before the created
    -- event of the new life, if that is in this batch.
    IF begun IS NOT NULL THEN
        DELETE FROM ai_orchestrator.task_steps AS s
        USING {TaskRow.rows(begun)}
        WHERE s.task_id = p.id AND s.event_offset < p.born_offset;

        DELETE FROM ai_orchestrator.tasks AS t
        USING {TaskRow.rows(begun)}
        WHERE t.id = p.id
          AND t.created_at <> ai_orchestrator.from_millis(p.created_at)
          AND t.event_offset < p.event_offset;
    END IF;

    -- Attempts before tasks: a task's steps are made from them. Values that the batch does not
    -- have, and rows of later events, stay.
    IF attempts IS NOT NULL THEN
        INSERT INTO ai_orchestrator.task_steps AS s ({StepRow.columns})
        SELECT {StepRow.values}
        FROM {StepRow.rows(attempts)}
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
    END IF;

    -- Tasks whose life or run begins in this batch.
    IF begun IS NOT NULL THEN
        INSERT INTO ai_orchestrator.tasks AS t (steps, {TaskRow.columns})
        SELECT
            CASE WHEN pg_column_size(made.steps) > 8192
            THEN ai_orchestrator.small_steps(made.steps) ELSE made.steps END,
            {TaskRow.values}
        FROM {TaskRow.rows(begun)}
        CROSS JOIN LATERAL ai_orchestrator.steps_of(p.id, p.run) AS made
        ON CONFLICT (id, created_at) DO UPDATE SET
            steps = excluded.steps,
            {TaskRow.excluded(id, created_at, event_partition)}
        WHERE t.event_offset < excluded.event_offset;
    END IF;

    -- Later events of tasks that began in an earlier batch; a missing task is not created. These
    -- events do not have the creation time, which would name the month: the id is looked up in
    -- every month.
    IF changed IS NOT NULL THEN
        UPDATE ai_orchestrator.tasks AS t SET
            status          = coalesce(p.status, t.status),
            phase           = p.phase,
            priority        = p.priority,
            output          = p.output,
            steps           = CASE WHEN pg_column_size(made.steps) > 8192
                              THEN ai_orchestrator.small_steps(made.steps)
                              ELSE coalesce(made.steps, t.steps) END,
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
            usage_model     = CASE WHEN p.input_tokens IS NULL THEN t.usage_model
                              ELSE p.usage_model END,
            input_tokens    = coalesce(p.input_tokens, t.input_tokens),
            output_tokens   = coalesce(p.output_tokens, t.output_tokens),
            cost_micros     = coalesce(p.cost_micros, t.cost_micros),
            usage_estimated = coalesce(p.usage_estimated, t.usage_estimated),
            event_offset    = p.event_offset
        FROM {ChangeRow.rows(changed)}
        LEFT JOIN LATERAL ai_orchestrator.steps_of(p.id, p.run) AS made ON p.steps_changed
        WHERE t.id = p.id AND t.event_offset < p.event_offset;
    END IF;

    -- A refused command changes only the sequence of its task.
    IF refused IS NOT NULL THEN
        UPDATE ai_orchestrator.tasks AS t SET
            sequence     = p.sequence,
            event_offset = p.event_offset
        FROM {RefusalRow.rows(refused)}
        WHERE t.id = p.id AND t.event_offset < p.event_offset;
    END IF;

    -- The audit trail; an existing entry is left alone.
    IF trail IS NOT NULL THEN
        INSERT INTO ai_orchestrator.task_execution_logs ({LogRow.columns})
        SELECT {LogRow.values}
        FROM {LogRow.rows(trail)}
        ON CONFLICT (log_partition, event_offset, created_at) DO NOTHING;
    END IF;
END
$write_batch$;


-- name: write_batch
-- Write a batch; the parameters are those of the function.
SELECT pg_temp.write_batch($1, $2, $3, $4, $5, $6, $7, $8);
