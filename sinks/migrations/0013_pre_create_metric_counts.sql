-- 0013: metric_counts: the business metrics, counted with the rows.
--
-- Why: a counter in a process's memory counts a redelivered event twice and forgets what it
-- counted at a restart. These counts change in the transaction that writes the rows and moves the
-- position, so that each accepted event counts once.
-- Its rows begin with the log partition: only the writer that has locked the partition's position
-- changes them, so that writers of different partitions never wait for each other here.
-- fillfactor: every batch updates the same few rows; with room in the page no index is touched.
--
-- sink_offsets.counted_from: the rows that are there were written without counts.
--
-- Locks: ACCESS EXCLUSIVE on sink_offsets for a moment (a column without a default: no rewrite).
-- Safe before the new code runs, and with the old code, whose batches are not counted.
-- Down: the counts are gone; a later migration begins at zero, as after a reset.

-- migrate:up
CREATE TABLE ai_orchestrator.metric_counts (
    log_partition integer NOT NULL,
    metric        text    NOT NULL,
    labels        jsonb   NOT NULL,
    bucket        bigint  NOT NULL,
    events        bigint  NOT NULL,
    total         numeric NOT NULL,                 -- usages may add up to more than a bigint

    CONSTRAINT metric_counts_pkey PRIMARY KEY (log_partition, metric, labels, bucket)
) WITH (fillfactor = 50);

ALTER TABLE ai_orchestrator.sink_offsets ADD COLUMN counted_from bigint;

COMMENT ON TABLE ai_orchestrator.metric_counts IS
    'One row for each log partition, metric, set of labels and bucket: what the sink counted. Prometheus gets these counts from the sink; retention does not lower them.';
COMMENT ON COLUMN ai_orchestrator.metric_counts.log_partition IS
    'The partition of task-events whose events are counted.';
COMMENT ON COLUMN ai_orchestrator.metric_counts.metric IS
    'The name of the metric, such as orchestrator_tasks_total; tenant_tokens and tenant_cost are not exported, they rank the tenants.';
COMMENT ON COLUMN ai_orchestrator.metric_counts.labels IS
    'The labels of the metric, a JSON object with text values.';
COMMENT ON COLUMN ai_orchestrator.metric_counts.bucket IS
    'For a histogram the upper bound in milliseconds of the values counted here, -1 above the largest; 0 for other metrics.';
COMMENT ON COLUMN ai_orchestrator.metric_counts.events IS 'How many events or values were counted.';
COMMENT ON COLUMN ai_orchestrator.metric_counts.total IS
    'The sum of their values: milliseconds, tokens or micro-USD; 0 for a metric without values.';
COMMENT ON COLUMN ai_orchestrator.sink_offsets.counted_from IS
    'The offset from which metric_counts counts this partition, 0 for all that was ever written; null before the first count.';

-- migrate:down
ALTER TABLE ai_orchestrator.sink_offsets DROP COLUMN counted_from;
DROP TABLE ai_orchestrator.metric_counts;
