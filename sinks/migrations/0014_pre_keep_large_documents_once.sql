-- 0014: small_steps: what tasks.steps holds of a task's steps, without large documents.
--
-- Why: tasks.steps is written with each step, and large inputs and outputs are in task_steps
-- anyway: a task with documents of 160 KB wrote them up to six times. Rows that are there stay as
-- they are; a reader that finds `omitted` asks steps_of, as before.
-- The size is that of the JSON text, which does not depend on how a value is stored.
--
-- Locks: none on existing tables. Safe before the new code runs; the version before shows null
-- for the large documents of steps that the new one writes meanwhile.
-- Down: the new code cannot write; the version before can.

-- migrate:up
CREATE FUNCTION ai_orchestrator.small_steps(steps jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT coalesce(jsonb_agg(
        CASE WHEN large.names IS NULL THEN each.step
        ELSE each.step || large.nulls || jsonb_build_object('omitted', large.names) END
        ORDER BY each.place
    ), '[]')
    FROM jsonb_array_elements(steps) WITH ORDINALITY AS each (step, place)
    CROSS JOIN LATERAL (
        SELECT jsonb_agg(document.name ORDER BY document.name) AS names,
            jsonb_object_agg(document.name, NULL) AS nulls
        FROM (VALUES ('input'), ('output'), ('substeps')) AS document (name)
        WHERE octet_length((each.step -> document.name)::text) > 8192
    ) AS large;
END;

COMMENT ON FUNCTION ai_orchestrator.small_steps(jsonb) IS
    'Steps of a task without documents of more than 8 KB: these are null, and named in omitted.';
COMMENT ON COLUMN ai_orchestrator.tasks.steps IS
    'The last attempt of each step that counts in the present run, in the pipeline''s order, as a JSON array; task_steps has every attempt, and alone the documents of more than 8 KB, which are null here and named in omitted.';

-- migrate:down
COMMENT ON COLUMN ai_orchestrator.tasks.steps IS
    'The last attempt of each step that counts in the present run, in the pipeline''s order, as a JSON array; task_steps has every attempt.';
DROP FUNCTION ai_orchestrator.small_steps(jsonb);
