-- Queries of `orchestrator doctor` and of the start of a role; sinks/server/rules.py compares them.


-- name: describe_server
-- Version, encoding, and connections that are not reserved for administrators.
SELECT
    current_setting('server_version_num')::integer AS version,
    pg_encoding_to_char(d.encoding) AS encoding,
    LEAST(
        current_setting('max_connections')::integer
            - current_setting('superuser_reserved_connections')::integer
            - coalesce(current_setting('reserved_connections', true), '0')::integer,
        CASE WHEN d.datconnlimit < 0 THEN 2147483647 ELSE d.datconnlimit END,
        CASE WHEN r.rolconnlimit < 0 THEN 2147483647 ELSE r.rolconnlimit END
    ) AS max_connections
FROM pg_database d
CROSS JOIN pg_roles r
WHERE d.datname = current_database() AND r.rolname = current_user;


-- name: read_server_settings
-- The relevant settings of our session.
SELECT name, setting
FROM pg_settings
WHERE name IN (
    'default_transaction_read_only', 'default_transaction_isolation', 'fsync',
    'full_page_writes', 'session_replication_role'
);


-- name: read_rights
-- The rights that the sink and the dead-letter index need, and whether we have them. Returns no
-- rows if the schema does not exist.
WITH tables (name, wanted) AS (
    VALUES
        ('schema_migrations', 'SELECT'),
        ('tasks', 'SELECT'), ('tasks', 'INSERT'), ('tasks', 'UPDATE'), ('tasks', 'DELETE'),
        ('task_steps', 'SELECT'), ('task_steps', 'INSERT'), ('task_steps', 'UPDATE'),
        ('task_steps', 'DELETE'), ('task_execution_logs', 'SELECT'),
        ('task_execution_logs', 'INSERT'), ('sink_offsets', 'SELECT'),
        ('sink_offsets', 'INSERT'), ('sink_offsets', 'UPDATE'), ('metric_counts', 'SELECT'),
        ('metric_counts', 'INSERT'), ('metric_counts', 'UPDATE'), ('metric_counts', 'DELETE'),
        ('dead_letters', 'SELECT'), ('dead_letters', 'INSERT'), ('dead_letters', 'UPDATE'),
        ('dlq_index_offsets', 'SELECT'), ('dlq_index_offsets', 'INSERT'),
        ('dlq_index_offsets', 'UPDATE')
)
SELECT t.wanted || ' on ' || t.name AS wanted, has_table_privilege(c.oid, t.wanted) AS granted
FROM tables t
JOIN pg_class c ON c.relname = t.name AND c.relnamespace = to_regnamespace('ai_orchestrator')
UNION ALL
SELECT right_name || ' on schema ai_orchestrator', has_schema_privilege(n.oid, right_name)
FROM pg_namespace n, unnest(ARRAY['USAGE', 'CREATE']) AS right_name
WHERE n.nspname = 'ai_orchestrator'
UNION ALL
-- A writer makes a function for its session.
SELECT 'TEMPORARY on database ' || current_database(),
    has_database_privilege(current_database(), 'TEMPORARY')
FROM pg_namespace n
WHERE n.nspname = 'ai_orchestrator'
UNION ALL
-- Only the owner of a table may attach a month's partition.
SELECT 'ownership of ' || c.relname, pg_has_role(c.relowner, 'USAGE')
FROM pg_class c
WHERE c.relnamespace = to_regnamespace('ai_orchestrator')
  AND c.relname IN ('tasks', 'task_execution_logs');
