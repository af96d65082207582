"""One function checks the row of an execution, and events lose the foreign key that their guards imply.

PostgreSQL reads the text of each CHECK constraint again for each statement: 36 % of the instructions of a submission of
one execution, 24 % of a claim and of an outcome. The eleven constraints of executions had 23,000 characters. One
constraint calls a function now, whose plan a session keeps. It refuses the same rows, under the same names.

The foreign key of events looked for the execution of each event and locked it again: 14 % of a submission and of an
outcome in groups of 50. The guard of events requires that the execution counts the event. The same transaction has then
written the execution, so no other one removes it meanwhile. Only a transaction that does not see what others have
committed has to lock it. The removal of executions removes their events, in one statement for all of them.

The statement locks both tables. It waits for the first only, so it is in no deadlock with a query of the other one:
`coordinator migrate` tries again. It waits for autovacuum first, which a lock without a wait would not end. The new
constraint is checked for old rows in `0014_row_checks_valid`, without a lock that blocks a query.
"""

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models
from django.db.models import PROTECT

CHECK = """
CREATE FUNCTION execution_is_valid(status varchar, version bigint, event_count int, current_step_index int, attempt int,
    progress jsonb, progress_shape varchar, lease_owner varchar, lease_protocol varchar, lease_worker varchar,
    lease_token uuid, lease_expires_at timestamptz, running_since timestamptz, finished_at timestamptz, result jsonb,
    await_unit_id uuid, tags varchar[], traceparent varchar)
RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    broken text;
BEGIN
    IF version < 0 OR event_count <= version OR current_step_index < 0 OR attempt < 0 THEN
        broken := 'execution_counts';
    ELSIF lease_protocol <> 'celery' AND (lease_protocol <> 'rest' OR lease_worker IS NULL) THEN
        broken := 'execution_lease_protocol';
    ELSIF running_since IS NOT NULL AND status <> 'RUNNING' THEN
        broken := 'execution_only_running_runs';
    ELSIF (progress IS NULL) <> (progress_shape IS NULL) OR progress_shape NOT IN ('UNI', 'MULTI') THEN
        broken := 'execution_progress_has_shape';
    ELSIF (CASE status WHEN 'RUNNING'
        THEN num_nulls(lease_owner, lease_protocol, lease_token, lease_expires_at)
        ELSE num_nonnulls(lease_owner, lease_protocol, lease_worker, lease_token, lease_expires_at) END) > 0 THEN
        broken := 'execution_running_has_lease';
    ELSIF status NOT IN ('QUEUED', 'RUNNING', 'WAIT_RETRY', 'WAITING_EXTERNAL', 'SUCCEEDED', 'FAILED', 'DLQ', 'CANCELLED')
    THEN
        broken := 'execution_status_known';
    ELSIF (status = 'SUCCEEDED') = (result IS NULL) THEN
        broken := 'execution_success_has_result';
    ELSIF tags IS NOT NULL AND coalesce(array_length(tags, 1), 0) NOT BETWEEN 1 AND 20 THEN
        broken := 'execution_tags_count';
    ELSIF (status IN ('SUCCEEDED', 'FAILED', 'DLQ', 'CANCELLED')) = (finished_at IS NULL) THEN
        broken := 'execution_terminal_has_finish';
    ELSIF traceparent !~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$' THEN
        broken := 'execution_traceparent_form';
    ELSIF (status = 'WAITING_EXTERNAL') = (await_unit_id IS NULL) THEN
        broken := 'execution_waiting_has_unit';
    ELSE
        RETURN true;
    END IF;
    RAISE EXCEPTION 'the row of an execution breaks the rule %', broken
        USING ERRCODE = 'check_violation', CONSTRAINT = broken, TABLE = 'executions_execution', SCHEMA = 'public';
END $$;
"""
COLUMNS = (
    "status",
    "version",
    "event_count",
    "current_step_index",
    "attempt",
    "progress",
    "progress_shape",
    "lease_owner",
    "lease_protocol",
    "lease_worker",
    "lease_token",
    "lease_expires_at",
    "running_since",
    "finished_at",
    "result",
    "await_unit",
    "tags",
    "traceparent",
)
VALID_ROW = models.Func(*map(models.F, COLUMNS), function="execution_is_valid", output_field=models.BooleanField())
REPLACED = (
    "execution_status_known",
    "execution_running_has_lease",
    "execution_lease_protocol",
    "execution_only_running_runs",
    "execution_terminal_has_finish",
    "execution_success_has_result",
    "execution_waiting_has_unit",
    "execution_progress_has_shape",
    "execution_counts",
    "execution_traceparent_form",
    "execution_tags_count",
)
GUARDS = """
-- A transaction that sees what others have committed needs no lock: the execution counts the event, and the count and
-- the event are unique, so this transaction has written the execution.
CREATE OR REPLACE FUNCTION guard_event_sequence() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        PERFORM FROM executions_execution e WHERE e.id = ANY (ARRAY(SELECT execution_id FROM added)) FOR KEY SHARE;
    END IF;
    IF EXISTS (
        SELECT FROM (SELECT execution_id, min(sequence) AS first, max(sequence) AS last, count(*) AS events,
                min(status) AS status, max(status) AS other_status
            FROM added GROUP BY execution_id) a
        WHERE ((a.last, a.status, a.other_status) = (
                SELECT e.event_count, e.status, e.status FROM executions_execution e WHERE e.id = a.execution_id)
            ) IS NOT TRUE
            OR a.last - a.first + 1 <> a.events
            OR a.first < 1
            OR (a.first > 1 AND (SELECT v.sequence FROM executions_executionevent v
                WHERE v.execution_id = a.execution_id AND v.sequence = a.first - 1) IS NULL))
    THEN
        RAISE EXCEPTION 'events must follow the newest one of their execution, which counts them in the same statement and has their status'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION guard_removal() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
BEGIN
    IF EXISTS (SELECT FROM removed r WHERE (SELECT r.finished_at <= now() - make_interval(days =>
            CASE WHEN r.status IN ('FAILED', 'DLQ') THEN t.failed_retention_days ELSE t.retention_days END)
        FROM tenancy_tenant t WHERE t.id = r.tenant_id) IS NOT TRUE)
    THEN
        RAISE EXCEPTION 'only what has been over for longer than its tenant keeps it is removed'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    DELETE FROM executions_executionevent WHERE execution_id = ANY (ARRAY(SELECT id FROM removed));
    RETURN NULL;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0012_removals_checked"),)
    operations = (
        migrations.RunSQL("LOCK TABLE executions_executionevent IN SHARE UPDATE EXCLUSIVE MODE"),
        migrations.RunSQL("LOCK TABLE executions_execution IN ACCESS EXCLUSIVE MODE"),
        migrations.RunSQL("LOCK TABLE executions_executionevent IN ACCESS EXCLUSIVE MODE NOWAIT"),
        migrations.RunSQL(CHECK),
        AddConstraintNotValid("execution", models.CheckConstraint(condition=VALID_ROW, name="execution_is_valid")),
        *(migrations.RemoveConstraint("execution", name) for name in REPLACED),
        migrations.RunSQL(GUARDS),
        migrations.AlterField(
            "executionevent",
            "execution",
            models.ForeignKey(
                "executions.execution", on_delete=PROTECT, related_name="events", db_index=False, db_constraint=False
            ),
        ),
        migrations.RemoveConstraint("executionevent", "event_sequence_from_one"),
    )
