-- 0006: the indexes of tasks hold the order in which lists are read.
--
-- Why: a page of a list is then read from where the last page ended, newest first, without
-- sorting what matches. Each keeps its name and its first columns, so it serves what it
-- served before, and a write keeps as many indexes as before.
-- Without the id, which only parts tasks of one millisecond: it would double their size.
--
-- Locks: ACCESS EXCLUSIVE on tasks while they are built, some seconds for a million tasks: the
-- sink and readers wait, tasks go on. Safe before the new code runs.
-- Down: the indexes as they were; lists work, slower.

-- migrate:up
DROP INDEX ai_orchestrator.idx_type;
DROP INDEX ai_orchestrator.idx_status;
DROP INDEX ai_orchestrator.idx_conversation;
DROP INDEX ai_orchestrator.idx_tenant;
DROP INDEX ai_orchestrator.idx_tasks_tenant_status;
CREATE INDEX idx_type   ON ai_orchestrator.tasks (type, created_at DESC);
CREATE INDEX idx_status ON ai_orchestrator.tasks (status, created_at DESC);
CREATE INDEX idx_tenant ON ai_orchestrator.tasks (tenant_id, created_at DESC);
CREATE INDEX idx_conversation ON ai_orchestrator.tasks (conversation_id, created_at DESC);
CREATE INDEX idx_tasks_tenant_status
    ON ai_orchestrator.tasks (tenant_id, status, created_at DESC);

-- migrate:down
DROP INDEX ai_orchestrator.idx_tasks_tenant_status;
DROP INDEX ai_orchestrator.idx_conversation;
DROP INDEX ai_orchestrator.idx_tenant;
DROP INDEX ai_orchestrator.idx_status;
DROP INDEX ai_orchestrator.idx_type;
CREATE INDEX idx_type         ON ai_orchestrator.tasks (type);
CREATE INDEX idx_status       ON ai_orchestrator.tasks (status);
CREATE INDEX idx_conversation ON ai_orchestrator.tasks (conversation_id);
CREATE INDEX idx_tenant       ON ai_orchestrator.tasks (tenant_id);
CREATE INDEX idx_tasks_tenant_status ON ai_orchestrator.tasks (tenant_id, status);
