-- 0004: sink_offsets: how far each partition of task-events was written.
--
-- Why: moved in the transaction that writes the rows, so rows and position can never
-- disagree: the projection is exactly-once, also after a restore from a backup.
-- A writer moves it only from where it left it; that tells a former owner of the
-- partition apart from the present one.
--
-- Locks: none on existing tables. Safe before the new code runs.
-- Down: the next writer begins at the log's start and writes everything again.

-- migrate:up
CREATE TABLE ai_orchestrator.sink_offsets (
    log_partition integer     NOT NULL,
    next_offset   bigint      NOT NULL,                 -- the first one that is not written
    epoch         bigint      NOT NULL,                 -- ownership accepted at next_offset
    owner         text        NOT NULL,
    updated_at    timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT sink_offsets_pkey PRIMARY KEY (log_partition),
    CONSTRAINT sink_offsets_next_offset_range CHECK (next_offset >= 0)
);

-- migrate:down
DROP TABLE ai_orchestrator.sink_offsets;
