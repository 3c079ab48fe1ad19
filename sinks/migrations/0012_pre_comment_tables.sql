-- 0012: what each table and column means, as COMMENT ON.
--
-- Why: psql (\d+), notebooks and drawing tools show the meaning beside the column. The texts are
-- those of docs/tables.md; a test compares them.
--
-- Locks: SHARE UPDATE EXCLUSIVE on each table for a moment: readers and writers do not notice.
-- Safe before the new code runs, and with the old code.
-- Down: the comments go; nothing else changes.

-- migrate:up
COMMENT ON TABLE ai_orchestrator.tasks IS
    'One row for each task: the fold of its events, newest state. Partitioned by month of created_at.';
COMMENT ON COLUMN ai_orchestrator.tasks.id IS
    'The task''s id, as the upstream service or the API chose it.';
COMMENT ON COLUMN ai_orchestrator.tasks.type IS
    'The task type: the name of its pipeline, such as rag.';
COMMENT ON COLUMN ai_orchestrator.tasks.status IS
    'Where the task is: pending, running, completed, failed or cancelled.';
COMMENT ON COLUMN ai_orchestrator.tasks.phase IS
    'Where the task is, finer than status: held, queued, step_running, retry_scheduled, completed, failed or cancelled; new values may come.';
COMMENT ON COLUMN ai_orchestrator.tasks.priority IS
    'The present priority, 0 to 10; a higher one is served first.';
COMMENT ON COLUMN ai_orchestrator.tasks.conversation_id IS
    'The conversation that the task belongs to, as its creator named it.';
COMMENT ON COLUMN ai_orchestrator.tasks.user_id IS
    'The user whom the task is for, as its creator named it.';
COMMENT ON COLUMN ai_orchestrator.tasks.tenant_id IS 'The tenant that the task belongs to.';
COMMENT ON COLUMN ai_orchestrator.tasks.input IS
    'The input of the task, a JSON object, as its creator gave it.';
COMMENT ON COLUMN ai_orchestrator.tasks.output IS
    'The output of the pipeline; null until the task has completed.';
COMMENT ON COLUMN ai_orchestrator.tasks.steps IS
    'The last attempt of each step that counts in the present run, in the pipeline''s order, as a JSON array; task_steps has every attempt.';
COMMENT ON COLUMN ai_orchestrator.tasks.metadata IS
    'What the creator keeps with the task, a JSON object; it does not influence processing.';
COMMENT ON COLUMN ai_orchestrator.tasks.created_at IS
    'When the owner accepted the task (UTC); the key of the partitions.';
COMMENT ON COLUMN ai_orchestrator.tasks.updated_at IS
    'When the last event of the task occurred, other than a refused command (UTC).';
COMMENT ON COLUMN ai_orchestrator.tasks.started_at IS
    'When the first call of the present run started (UTC); null before that.';
COMMENT ON COLUMN ai_orchestrator.tasks.completed_at IS
    'When the present run ended, as completed, failed or cancelled (UTC); null before that.';
COMMENT ON COLUMN ai_orchestrator.tasks.duration_ms IS
    'Milliseconds from started_at to completed_at; null while one of them is.';
COMMENT ON COLUMN ai_orchestrator.tasks.deadline_at IS
    'The time by which the present run must have ended (UTC); the task fails then.';
COMMENT ON COLUMN ai_orchestrator.tasks.pipeline IS 'The name of the pipeline; the same as type.';
COMMENT ON COLUMN ai_orchestrator.tasks.pipeline_version IS
    'The version of the pipeline that the task runs.';
COMMENT ON COLUMN ai_orchestrator.tasks.run IS
    'The present run, from 1; a retry of an ended task begins the next one.';
COMMENT ON COLUMN ai_orchestrator.tasks.sequence IS
    'The sequence number of the task''s last event, from 1.';
COMMENT ON COLUMN ai_orchestrator.tasks.idempotency_key IS
    'The idempotency key that the creator gave; null without one.';
COMMENT ON COLUMN ai_orchestrator.tasks.error_code IS
    'The code of the error that the task failed with, such as DEADLINE_EXCEEDED; null unless it failed.';
COMMENT ON COLUMN ai_orchestrator.tasks.error_message IS
    'The message of the task''s error, for people; it may change.';
COMMENT ON COLUMN ai_orchestrator.tasks.error_category IS
    'Who has to act on the task''s error: user, downstream, timeout, cancelled, poison or internal.';
COMMENT ON COLUMN ai_orchestrator.tasks.error_retriable IS
    'Whether a retry may help against the task''s error.';
COMMENT ON COLUMN ai_orchestrator.tasks.error_service IS
    'The service that reported the task''s error; null if it was not a service.';
COMMENT ON COLUMN ai_orchestrator.tasks.error_step IS
    'The step that failed; null if the task did not fail in a step.';
COMMENT ON COLUMN ai_orchestrator.tasks.error_attempt IS
    'The attempt of error_step that failed for good.';
COMMENT ON COLUMN ai_orchestrator.tasks.usage_model IS
    'The model that was used last, as its service reported it; null without one.';
COMMENT ON COLUMN ai_orchestrator.tasks.input_tokens IS
    'Input tokens of all attempts of all runs, wasted ones included.';
COMMENT ON COLUMN ai_orchestrator.tasks.output_tokens IS
    'Output tokens of all attempts of all runs, wasted ones included.';
COMMENT ON COLUMN ai_orchestrator.tasks.cost_micros IS
    'Cost of all attempts of all runs in micro-USD, wasted ones included.';
COMMENT ON COLUMN ai_orchestrator.tasks.usage_estimated IS
    'Whether a service estimated its usage instead of measuring it.';
COMMENT ON COLUMN ai_orchestrator.tasks.event_partition IS
    'The partition of task-events that holds the task''s events.';
COMMENT ON COLUMN ai_orchestrator.tasks.event_offset IS
    'The offset of the task''s last event in event_partition.';

COMMENT ON TABLE ai_orchestrator.task_steps IS
    'One row for each attempt of a step, of every run. Not partitioned; its key begins with the task''s id.';
COMMENT ON COLUMN ai_orchestrator.task_steps.task_id IS 'The task that the attempt belongs to.';
COMMENT ON COLUMN ai_orchestrator.task_steps.run IS 'The run of the task, from 1.';
COMMENT ON COLUMN ai_orchestrator.task_steps.step IS 'The name of the step in the pipeline.';
COMMENT ON COLUMN ai_orchestrator.task_steps.attempt IS
    'The number of the attempt within its run and step, from 1.';
COMMENT ON COLUMN ai_orchestrator.task_steps.step_index IS
    'The place of the step in the pipeline, from 0.';
COMMENT ON COLUMN ai_orchestrator.task_steps.tenant_id IS 'The tenant that the task belongs to.';
COMMENT ON COLUMN ai_orchestrator.task_steps.command_id IS
    'The id of the attempt''s command: task, run, step and attempt with slashes between them.';
COMMENT ON COLUMN ai_orchestrator.task_steps.service IS 'The service that the step calls.';
COMMENT ON COLUMN ai_orchestrator.task_steps.lane IS
    'The lane that the command was sent to: high, normal or low.';
COMMENT ON COLUMN ai_orchestrator.task_steps.status IS
    'What became of the attempt: pending (dispatched), running, succeeded, failed, cancelled, or retry_scheduled (failed, another attempt follows).';
COMMENT ON COLUMN ai_orchestrator.task_steps.input IS
    'The input of the step, a JSON document; null for a later attempt, which has the input of the first one of its run and step.';
COMMENT ON COLUMN ai_orchestrator.task_steps.output IS
    'The output of the step, a JSON document; null unless the attempt succeeded.';
COMMENT ON COLUMN ai_orchestrator.task_steps.substeps IS
    'The iterations of the attempt, such as an agent''s, as a JSON array whose times are Unix milliseconds; null without any.';
COMMENT ON COLUMN ai_orchestrator.task_steps.error_code IS
    'The code of the error that the attempt ended with; null if it did not fail.';
COMMENT ON COLUMN ai_orchestrator.task_steps.error_message IS
    'The message of the attempt''s error, for people; it may change.';
COMMENT ON COLUMN ai_orchestrator.task_steps.error_category IS
    'Who has to act on the attempt''s error: user, downstream, timeout, cancelled, poison or internal.';
COMMENT ON COLUMN ai_orchestrator.task_steps.error_retriable IS
    'Whether another attempt may help against the attempt''s error.';
COMMENT ON COLUMN ai_orchestrator.task_steps.error_service IS
    'The service that reported the attempt''s error; null if it was not a service.';
COMMENT ON COLUMN ai_orchestrator.task_steps.usage_model IS
    'The model that the attempt used; null without one.';
COMMENT ON COLUMN ai_orchestrator.task_steps.input_tokens IS
    'Input tokens of the attempt; null if its service reported no usage.';
COMMENT ON COLUMN ai_orchestrator.task_steps.output_tokens IS
    'Output tokens of the attempt; null if its service reported no usage.';
COMMENT ON COLUMN ai_orchestrator.task_steps.cost_micros IS
    'Cost of the attempt in micro-USD; null if its service reported no usage.';
COMMENT ON COLUMN ai_orchestrator.task_steps.usage_estimated IS
    'Whether the service estimated the usage; null if it reported no usage.';
COMMENT ON COLUMN ai_orchestrator.task_steps.worker IS
    'The step worker that made the attempt: its host and process id.';
COMMENT ON COLUMN ai_orchestrator.task_steps.dispatched_at IS 'When the attempt was decided (UTC).';
COMMENT ON COLUMN ai_orchestrator.task_steps.started_at IS
    'When the step worker called the service (UTC, the worker''s clock); null before it is reported.';
COMMENT ON COLUMN ai_orchestrator.task_steps.completed_at IS
    'When the call ended (UTC, the worker''s clock); null before that.';
COMMENT ON COLUMN ai_orchestrator.task_steps.next_attempt_at IS
    'When the next attempt is due (UTC); null unless the status is retry_scheduled.';
COMMENT ON COLUMN ai_orchestrator.task_steps.duration_ms IS
    'Milliseconds from started_at to completed_at; null while one of them is.';
COMMENT ON COLUMN ai_orchestrator.task_steps.event_offset IS
    'The offset of the attempt''s last event in task-events, in the partition of its task.';

COMMENT ON TABLE ai_orchestrator.task_execution_logs IS
    'One row for each event of a task: the audit trail. Partitioned by month of created_at.';
COMMENT ON COLUMN ai_orchestrator.task_execution_logs.id IS
    'The number of the row, in the order of writing.';
COMMENT ON COLUMN ai_orchestrator.task_execution_logs.task_id IS
    'The task that the event is about.';
COMMENT ON COLUMN ai_orchestrator.task_execution_logs.event_type IS
    'What happened, such as created, step_succeeded, command_refused or completed.';
COMMENT ON COLUMN ai_orchestrator.task_execution_logs.event_data IS
    'The event as a JSON object without inputs and outputs, which are in tasks and task_steps; times in it are Unix milliseconds.';
COMMENT ON COLUMN ai_orchestrator.task_execution_logs.created_at IS
    'When the event occurred (UTC, the owner''s clock); the key of the partitions.';
COMMENT ON COLUMN ai_orchestrator.task_execution_logs.tenant_id IS
    'The tenant that the task belongs to.';
COMMENT ON COLUMN ai_orchestrator.task_execution_logs.actor IS
    'Who gave the command that led to the event; null if it was not a command.';
COMMENT ON COLUMN ai_orchestrator.task_execution_logs.log_partition IS
    'The partition of task-events that holds the event.';
COMMENT ON COLUMN ai_orchestrator.task_execution_logs.event_offset IS
    'The offset of the event in log_partition.';

COMMENT ON TABLE ai_orchestrator.sink_offsets IS
    'One row for each partition of task-events: how far the sink wrote it. Moved in the transaction that writes the rows.';
COMMENT ON COLUMN ai_orchestrator.sink_offsets.log_partition IS 'The partition of task-events.';
COMMENT ON COLUMN ai_orchestrator.sink_offsets.next_offset IS
    'The first offset that is not written.';
COMMENT ON COLUMN ai_orchestrator.sink_offsets.epoch IS
    'The epoch of the owner that is accepted at next_offset.';
COMMENT ON COLUMN ai_orchestrator.sink_offsets.owner IS
    'The owner that is accepted at next_offset.';
COMMENT ON COLUMN ai_orchestrator.sink_offsets.updated_at IS
    'When the sink last wrote this partition (UTC, the clock of Postgres).';

COMMENT ON TABLE ai_orchestrator.dead_letters IS
    'One row for each dead letter of every topic: an index; key, value and headers are in the dead-letter topic. A row whose topic is null is an action whose letter was not read yet.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.id IS
    'The id of the dead letter; every record of a dead-letter topic has one.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.topic IS
    'The topic in which the record failed; the dead-letter topic is its name after dlq.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.origin_partition IS
    'The partition that the record was read from.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.origin_offset IS
    'The offset of the record in origin_partition; -1 if it is not known.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.original_at IS
    'The timestamp of the record that failed (UTC).';
COMMENT ON COLUMN ai_orchestrator.dead_letters.dlq_partition IS
    'The partition of the dead-letter topic.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.dlq_offset IS
    'The offset of the dead letter in dlq_partition.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.dead_lettered_at IS
    'When the record became a dead letter (UTC).';
COMMENT ON COLUMN ai_orchestrator.dead_letters.consumer_group IS
    'The consumer group that could not process the record.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.stage IS
    'Where processing failed: decode, validate, route, execute, publish or sink.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.failure_class IS
    'The kind of failure: POISON, PERMANENT, TRANSIENT_EXHAUSTED, TIMEOUT, DEADLINE or REJECTED.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.code IS
    'Why processing failed: a code of docs/errors.md.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.message IS 'The message of the failure, for people.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.exception IS
    'The type of the exception in the program that failed.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.delivery_count IS
    'How often the record had been delivered when it failed.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.task_id IS
    'The task that the record is about; null if it cannot be known.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.tenant_id IS
    'The tenant that the record belongs to; null if it cannot be known.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.task_type IS
    'The type of the task; null if it cannot be known.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.step IS
    'The step that failed; null for a record that is not about a step.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.service IS
    'The service that the step called; null for a record that is not about a step.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.run IS
    'The run of the task, for a step that failed for good; null otherwise.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.traceparent IS
    'The W3C trace in which the record failed; null without one.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.carried_replays IS
    'How often the record had been replayed before it failed here, as its headers say.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.replay_of IS
    'The dead letter whose replay failed here; null if it was not a replay.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.status IS
    'What is done with the letter: open, replaying, resolved, parked or discarded.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.status_reason IS
    'Why it has this status, such as failed_again, or the reason that a person gave.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.status_by IS 'Who brought it into this status.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.status_at IS
    'When it came into this status (UTC); null if nothing was done.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.replays IS
    'How often the record was replayed, as counted at its last replay.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.replay_id IS
    'The last replay that took the letter; null without one.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.sent_topic IS
    'The topic that the last replay sent the record to; null without one.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.sent_partition IS
    'The partition that the last replay sent the record to.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.sent_offset IS
    'The offset of the record that the last replay sent.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.sha256 IS
    'The SHA-256 of the edited value; null if it was not edited.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.mended IS
    'Whether the letter was edited since its last replay; the count of replays then does not park it.';
COMMENT ON COLUMN ai_orchestrator.dead_letters.action_offset IS
    'The offset in dlq-actions of the last action about the letter; -1 without one.';

COMMENT ON TABLE ai_orchestrator.dlq_index_offsets IS
    'One row for each partition of each dead-letter topic and of dlq-actions: how far the index was written.';
COMMENT ON COLUMN ai_orchestrator.dlq_index_offsets.topic IS 'The topic that the index reads.';
COMMENT ON COLUMN ai_orchestrator.dlq_index_offsets.log_partition IS 'The partition of the topic.';
COMMENT ON COLUMN ai_orchestrator.dlq_index_offsets.next_offset IS
    'The first offset that is not written.';

COMMENT ON FUNCTION ai_orchestrator.from_millis(bigint) IS
    'A time of the wire, in Unix milliseconds, as a timestamp; null stays null.';
COMMENT ON FUNCTION ai_orchestrator.steps_of(varchar, integer) IS
    'What tasks.steps holds for one task: the last attempt of each step that counts in a run.';
COMMENT ON FUNCTION ai_orchestrator.ensure_month(date) IS
    'Makes the partitions of one month (UTC) of the partitioned tables; true if one was missing.';

-- migrate:down
COMMENT ON TABLE ai_orchestrator.tasks IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.id IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.type IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.status IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.phase IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.priority IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.conversation_id IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.user_id IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.tenant_id IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.input IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.output IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.steps IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.metadata IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.created_at IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.updated_at IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.started_at IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.completed_at IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.duration_ms IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.deadline_at IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.pipeline IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.pipeline_version IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.run IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.sequence IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.idempotency_key IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.error_code IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.error_message IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.error_category IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.error_retriable IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.error_service IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.error_step IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.error_attempt IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.usage_model IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.input_tokens IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.output_tokens IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.cost_micros IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.usage_estimated IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.event_partition IS NULL;
COMMENT ON COLUMN ai_orchestrator.tasks.event_offset IS NULL;
COMMENT ON TABLE ai_orchestrator.task_steps IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_steps.task_id IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_steps.run IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_steps.step IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_steps.attempt IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_steps.step_index IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_steps.tenant_id IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_steps.command_id IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_steps.service IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_steps.lane IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_steps.status IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_steps.input IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_steps.output IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_steps.substeps IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_steps.error_code IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_steps.error_message IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_steps.error_category IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_steps.error_retriable IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_steps.error_service IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_steps.usage_model IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_steps.input_tokens IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_steps.output_tokens IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_steps.cost_micros IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_steps.usage_estimated IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_steps.worker IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_steps.dispatched_at IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_steps.started_at IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_steps.completed_at IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_steps.next_attempt_at IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_steps.duration_ms IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_steps.event_offset IS NULL;
COMMENT ON TABLE ai_orchestrator.task_execution_logs IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_execution_logs.id IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_execution_logs.task_id IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_execution_logs.event_type IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_execution_logs.event_data IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_execution_logs.created_at IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_execution_logs.tenant_id IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_execution_logs.actor IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_execution_logs.log_partition IS NULL;
COMMENT ON COLUMN ai_orchestrator.task_execution_logs.event_offset IS NULL;
COMMENT ON TABLE ai_orchestrator.sink_offsets IS NULL;
COMMENT ON COLUMN ai_orchestrator.sink_offsets.log_partition IS NULL;
COMMENT ON COLUMN ai_orchestrator.sink_offsets.next_offset IS NULL;
COMMENT ON COLUMN ai_orchestrator.sink_offsets.epoch IS NULL;
COMMENT ON COLUMN ai_orchestrator.sink_offsets.owner IS NULL;
COMMENT ON COLUMN ai_orchestrator.sink_offsets.updated_at IS NULL;
COMMENT ON TABLE ai_orchestrator.dead_letters IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.id IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.topic IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.origin_partition IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.origin_offset IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.original_at IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.dlq_partition IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.dlq_offset IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.dead_lettered_at IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.consumer_group IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.stage IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.failure_class IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.code IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.message IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.exception IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.delivery_count IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.task_id IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.tenant_id IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.task_type IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.step IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.service IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.run IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.traceparent IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.carried_replays IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.replay_of IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.status IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.status_reason IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.status_by IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.status_at IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.replays IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.replay_id IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.sent_topic IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.sent_partition IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.sent_offset IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.sha256 IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.mended IS NULL;
COMMENT ON COLUMN ai_orchestrator.dead_letters.action_offset IS NULL;
COMMENT ON TABLE ai_orchestrator.dlq_index_offsets IS NULL;
COMMENT ON COLUMN ai_orchestrator.dlq_index_offsets.topic IS NULL;
COMMENT ON COLUMN ai_orchestrator.dlq_index_offsets.log_partition IS NULL;
COMMENT ON COLUMN ai_orchestrator.dlq_index_offsets.next_offset IS NULL;
COMMENT ON FUNCTION ai_orchestrator.from_millis(bigint) IS NULL;
COMMENT ON FUNCTION ai_orchestrator.steps_of(varchar, integer) IS NULL;
COMMENT ON FUNCTION ai_orchestrator.ensure_month(date) IS NULL;
