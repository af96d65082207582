"""The removal of an execution removes its history, and its guards look at each statement and not at each row.

A history was deleted by nine statements after its executions, and the foreign keys of the nine tables looked for the
execution and for its rows again at the commit: 62 of the 105 µs that PostgreSQL took for an execution. They delete
the rows now. So a history is still removed with its execution or not at all, and nothing but the removal of its
execution removes it.

The statement locks the tables of the histories. It waits for the first one only, so it is in no deadlock with a query of
the others: `coordinator migrate` tries again. It waits for autovacuum first, which a lock without a wait would not end.
The foreign keys were valid, and `0012_removals_checked` says so without a lock that blocks a query.

Campaigns no longer lock the executions that they select, and the guard of their items allows for it.
"""

from django.db import migrations

GUARDS = """
CREATE OR REPLACE FUNCTION guard_removal() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM removed r WHERE (SELECT r.finished_at <= now() - make_interval(days =>
            CASE WHEN r.status IN ('FAILED', 'DLQ') THEN t.failed_retention_days ELSE t.retention_days END)
        FROM tenancy_tenant t WHERE t.id = r.tenant_id) IS NOT TRUE)
    THEN
        RAISE EXCEPTION 'only what has been over for longer than its tenant keeps it is removed'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
DROP TRIGGER execution_not_deleted ON executions_execution;
CREATE TRIGGER execution_not_deleted AFTER DELETE ON executions_execution
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION guard_removal();

-- A scalar subquery looks each execution up by its key; a join, or a plan that was made for a small table, might read the
-- whole table.
CREATE OR REPLACE FUNCTION guard_history() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
BEGIN
    IF EXISTS (SELECT FROM (SELECT DISTINCT execution_id FROM removed) r
        WHERE (SELECT e.id FROM executions_execution e WHERE e.id = r.execution_id) IS NOT NULL)
    THEN
        RAISE EXCEPTION '% of % is refused: history goes with its execution alone', TG_OP, TG_TABLE_NAME
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_ARGV[0];
    END IF;
    RETURN NULL;
END $$;

-- Nothing locks the executions that a campaign selects. A STABLE function reads the snapshot of the statement that
-- selected them, so one that changes meanwhile does not make it fail.
ALTER FUNCTION guard_new_campaign_items() STABLE SET enable_seqscan = off;
"""

APPEND_ONLY = """
DROP TRIGGER {name} ON {table};
CREATE TRIGGER {name} BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER {name}_removal AFTER DELETE ON {table}
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION guard_history('{name}');
"""
APPEND_ONLY_TABLES = {
    "executions_executionevent": "event_append_only",
    "executions_deadletter": "deadletter_append_only",
    "executions_interactionevent": "interaction_event_append_only",
    "executions_resubmission": "resubmission_append_only",
    "executions_smoketest": "smoke_test_append_only",
}

# The names of foreign keys end with a digest, so they are looked up. Each keeps its name.
HISTORIES = """
LOCK TABLE executions_executionevent, executions_deadletter, executions_awaitunit, executions_interaction,
    executions_interactionevent, executions_wireform, executions_smoketest, executions_resubmission, executions_hold
    IN {mode}
"""
CASCADES = """
DO $$
DECLARE
    k record;
BEGIN
    FOR k IN SELECT conrelid::regclass AS history, conname AS name, pg_get_constraintdef(oid) AS definition
        FROM pg_constraint
        WHERE contype = 'f' AND confrelid = ANY (
            ARRAY['executions_execution', 'executions_awaitunit', 'executions_interaction']::regclass[])
            AND conrelid <> 'executions_execution'::regclass
    LOOP
        EXECUTE format('ALTER TABLE %1$s DROP CONSTRAINT %2$I, ADD CONSTRAINT %2$I %3$s NOT VALID', k.history, k.name,
            replace(k.definition, ' DEFERRABLE', ' ON DELETE CASCADE DEFERRABLE'));
    END LOOP;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0010_events"),)
    operations = (
        migrations.RunSQL(HISTORIES.format(mode="SHARE UPDATE EXCLUSIVE MODE")),
        migrations.RunSQL("LOCK TABLE executions_execution IN ACCESS EXCLUSIVE MODE"),
        migrations.RunSQL(HISTORIES.format(mode="ACCESS EXCLUSIVE MODE NOWAIT")),
        migrations.RunSQL(CASCADES),
        migrations.RunSQL(GUARDS),
        *(migrations.RunSQL(APPEND_ONLY.format(table=table, name=name)) for table, name in APPEND_ONLY_TABLES.items()),
    )
