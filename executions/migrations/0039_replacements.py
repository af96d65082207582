"""Work that another execution carries on is not run again unless the caller says so: ADR 133.

Campaigns ask the same rule. So they may resubmit a failure again if its first resubmission failed or was cancelled, and
no unique index forbids it.
"""

from django.db import migrations

REPLACEMENT = """
-- Returns the execution that carries on the work of another one, or null: it is due, runs, waits or has succeeded.
-- It is a resubmission of the other one, of its parents, or of what these were resubmitted from, or an origin that has
-- run again since. It is the execution itself if that has succeeded after a failure. A resubmission that was removed
-- counts, because nothing says that it failed. Failed items are separate work.
-- Each OFFSET lets an index find the rows of a table, however many the planner expects.
CREATE FUNCTION replacement_of(execution uuid, of_items boolean DEFAULT false) RETURNS uuid LANGUAGE sql STABLE
COST 10000 SET search_path = pg_catalog, public, pg_temp AS $$
    WITH RECURSIVE line AS (
        SELECT execution AS id
        UNION ALL
        SELECT e.parent_id FROM line, LATERAL (SELECT p.parent_id FROM executions_execution p
            WHERE p.id = line.id AND p.parent_id IS NOT NULL OFFSET 0) e
    ), origins AS (
        SELECT id, NULL::bigint AS version FROM line WHERE NOT of_items
        UNION ALL
        SELECT s.execution_id, s.execution_version FROM origins o, LATERAL (
            SELECT r.execution_id, r.execution_version FROM executions_resubmission r
            WHERE r.new_execution_id = o.id AND r.items IS NULL OFFSET 0) s
    ), of_same_items AS (
        SELECT s.new_execution_id AS id FROM (
            SELECT execution AS id WHERE of_items
            UNION ALL
            SELECT i.execution_id FROM origins o, LATERAL (SELECT r.execution_id FROM executions_resubmission r
                WHERE r.new_execution_id = o.id AND r.items IS NOT NULL OFFSET 0) i
        ) o, LATERAL (SELECT r.new_execution_id FROM executions_resubmission r
            WHERE r.execution_id = o.id AND r.items IS NOT NULL OFFSET 0) s
        WHERE s.new_execution_id NOT IN (SELECT id FROM origins)
    ), family AS (
        (SELECT id, version FROM origins UNION ALL SELECT id, NULL FROM of_same_items)
        UNION ALL
        SELECT s.new_execution_id, NULL FROM family f, LATERAL (SELECT r.new_execution_id FROM executions_resubmission r
            WHERE r.execution_id = f.id AND r.items IS NULL OFFSET 0) s
        WHERE s.new_execution_id NOT IN (SELECT id FROM origins)
    )
    SELECT f.id FROM family f LEFT JOIN LATERAL (SELECT x.id, x.status, x.version, x.created_at
        FROM executions_execution x WHERE x.id = f.id OFFSET 0) e ON true
    WHERE CASE WHEN f.id IN (SELECT id FROM line)
        THEN f.id = execution AND e.status = 'SUCCEEDED'
            AND EXISTS (SELECT FROM executions_deadletter d WHERE d.execution_id = e.id)
        ELSE e.id IS NULL OR e.status NOT IN ('FAILED', 'DLQ', 'CANCELLED') AND e.version IS DISTINCT FROM f.version END
    ORDER BY e.created_at DESC NULLS LAST, f.id LIMIT 1
$$;
"""


class Migration(migrations.Migration):
    atomic = False
    dependencies = (("executions", "0038_failed_of_release"),)
    operations = (
        # The migration can be repeated after an interruption.
        migrations.RunSQL("DROP FUNCTION IF EXISTS replacement_of"),
        migrations.RunSQL(REPLACEMENT),
        migrations.RunSQL(
            "DROP INDEX CONCURRENTLY IF EXISTS resubmission_by_campaign_once",
            state_operations=[migrations.RemoveConstraint("resubmission", "resubmission_by_campaign_once")],
        ),
    )
