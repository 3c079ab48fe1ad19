-- 0010: dead_letters: the index of all dead-letter topics, and how far it was written.
--
-- Why: lists and counts of dead letters without reading their topics. The topics are the
-- truth: these tables can be emptied, and are then filled again (dlq_index_offsets says from
-- where). A row is made by whatever comes first, the letter or an action about it; what the
-- letter says is null until it was read, and such rows are shown to nobody.
-- The letter's key, value and headers are not here: they may be large, and are read from
-- their place in the topic.
--
-- Locks: none on existing tables. Safe before the new code runs.
-- Down: the next run fills the tables again from the topics.

-- migrate:up
CREATE TABLE ai_orchestrator.dead_letters (
    id               text        NOT NULL,
    topic            text,                               -- where the record failed
    origin_partition integer,
    origin_offset    bigint,
    original_at      timestamptz,
    dlq_partition    integer,
    dlq_offset       bigint,
    dead_lettered_at timestamptz,
    consumer_group   text,
    stage            text,
    failure_class    text,
    code             text,
    message          text,
    exception        text,
    delivery_count   integer,
    task_id          text,
    tenant_id        text,
    task_type        text,
    step             text,
    service          text,
    run              integer,                            -- of a step that failed for good
    traceparent      text,
    carried_replays  integer     NOT NULL DEFAULT 0,     -- as the record's headers say
    replay_of        text,

    status           text        NOT NULL DEFAULT 'open',
    status_reason    text        NOT NULL DEFAULT '',
    status_by        text        NOT NULL DEFAULT '',
    status_at        timestamptz,
    replays          integer     NOT NULL DEFAULT 0,     -- as the last replay counted
    replay_id        text,
    sent_topic       text,                               -- of the replayed record
    sent_partition   integer,
    sent_offset      bigint,
    sha256           text,                               -- of the edited value
    mended           boolean     NOT NULL DEFAULT false, -- edited since its last replay
    action_offset    bigint      NOT NULL DEFAULT -1,    -- of the last action, in dlq-actions

    CONSTRAINT dead_letters_pkey PRIMARY KEY (id),
    CONSTRAINT dead_letters_status_known
        CHECK (status IN ('open', 'replaying', 'resolved', 'parked', 'discarded'))
);

-- What is still to be done, newest first.
CREATE INDEX dead_letters_by_time ON ai_orchestrator.dead_letters (dead_lettered_at DESC);
-- The letters of a task; the count of a step's replays goes from run to run.
CREATE INDEX dead_letters_by_task ON ai_orchestrator.dead_letters (task_id, run);
-- What the index looks at again and again, to close it.
CREATE INDEX dead_letters_by_unsettled ON ai_orchestrator.dead_letters (status, task_id)
    WHERE status IN ('open', 'replaying');

CREATE TABLE ai_orchestrator.dlq_index_offsets (
    topic          text    NOT NULL,
    log_partition  integer NOT NULL,
    next_offset    bigint  NOT NULL,                     -- the first one that is not written

    CONSTRAINT dlq_index_offsets_pkey PRIMARY KEY (topic, log_partition)
);

-- migrate:down
DROP TABLE ai_orchestrator.dlq_index_offsets;
DROP TABLE ai_orchestrator.dead_letters;
