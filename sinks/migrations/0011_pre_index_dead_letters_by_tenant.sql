-- 0011: indexes for the letters of one tenant, and for what became of a replayed letter.
--
-- Why: the service lists a tenant's letters in pages, newest first, and must not read those of
-- all others for it; and it shows beside a letter the ones that it became.
--
-- Locks: SHARE on dead_letters while they are built, a second for a million letters: the index
-- agent waits. Safe before the new code runs.
-- Down: the lists work, slower.

-- migrate:up
CREATE INDEX dead_letters_by_tenant
    ON ai_orchestrator.dead_letters (tenant_id, dead_lettered_at DESC, id DESC);
CREATE INDEX dead_letters_by_replay_of ON ai_orchestrator.dead_letters (replay_of)
    WHERE replay_of IS NOT NULL;

-- migrate:down
DROP INDEX ai_orchestrator.dead_letters_by_replay_of;
DROP INDEX ai_orchestrator.dead_letters_by_tenant;
