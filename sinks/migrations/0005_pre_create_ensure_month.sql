-- 0005: ensure_month: makes the partitions of one month (UTC) of the partitioned tables.
--
-- Why: the writer calls it before the first row of a month, in a transaction of its own.
-- ATTACH takes SHARE UPDATE EXCLUSIVE on the parent, which writers and readers do not
-- notice; CREATE TABLE ... PARTITION OF would take ACCESS EXCLUSIVE and wait for them all.
-- The advisory lock makes callers come one after the other, so that two of them cannot
-- attach the same month. Identity is left out of LIKE: the parent's sequence gives the ids.
--
-- Locks: none on existing tables. Safe before the new code runs.
-- Down: months that exist stay.

-- migrate:up
CREATE FUNCTION ai_orchestrator.ensure_month(month date) RETURNS boolean
    LANGUAGE plpgsql
AS $$
DECLARE
    first_day date := date_trunc('month', month)::date;
    parent    text;
    child     text;
    made      boolean := false;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('ai_orchestrator.ensure_month', 0));
    FOREACH parent IN ARRAY ARRAY['tasks', 'task_execution_logs'] LOOP
        child := parent || to_char(first_day, '"_y"FMYYYY"m"MM');
        IF EXISTS (
            SELECT FROM pg_inherits
            WHERE inhparent = format('ai_orchestrator.%I', parent)::regclass
              AND inhrelid = to_regclass(format('ai_orchestrator.%I', child))
        ) THEN
            CONTINUE;
        END IF;
        EXECUTE format(
            'CREATE TABLE ai_orchestrator.%I (LIKE ai_orchestrator.%I'
            ' INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED INCLUDING STORAGE)',
            child, parent
        );
        EXECUTE format(
            'ALTER TABLE ai_orchestrator.%I ATTACH PARTITION ai_orchestrator.%I'
            ' FOR VALUES FROM (%L) TO (%L)',
            parent, child,
            first_day::timestamp AT TIME ZONE 'UTC',
            (first_day + interval '1 month')::timestamp AT TIME ZONE 'UTC'
        );
        made := true;
    END LOOP;
    RETURN made;
END
$$;

-- migrate:down
DROP FUNCTION ai_orchestrator.ensure_month(date);
