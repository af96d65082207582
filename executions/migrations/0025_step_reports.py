"""What the code of steps reports while it runs. Executions whose steps report nothing have no row.

`reported` says for which executions there are rows, so that claims, pages and removals of all others read nothing. A
removal deletes the reports in one statement with the history, without a foreign key, which each removal would read.
"""

from django.contrib.postgres.functions import TransactionNow
from django.db import migrations, models
from django.db.models import PROTECT, F, Func, Q, Value
from django.db.models.lookups import LessThanOrEqual

GUARDS = """
CREATE FUNCTION guard_step_reports() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
BEGIN
    IF EXISTS (SELECT FROM (SELECT DISTINCT execution_id FROM added) a
        WHERE (SELECT e.reported FROM executions_execution e WHERE e.id = a.execution_id) IS NOT TRUE)
    THEN
        RAISE EXCEPTION 'reports of steps belong to an execution that is marked as reported'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER step_report_of_reported AFTER INSERT ON executions_stepreport
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard_step_reports();
CREATE TRIGGER step_report_kept BEFORE UPDATE OF execution_id, lease_token, transition_key ON executions_stepreport
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER step_report_kept_removal AFTER DELETE ON executions_stepreport
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION guard_history('step_report_kept');
CREATE TRIGGER step_report_not_truncated BEFORE TRUNCATE ON executions_stepreport
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER execution_stays_reported BEFORE UPDATE OF reported ON executions_execution
    FOR EACH ROW WHEN (OLD.reported AND NEW.reported IS NOT TRUE) EXECUTE FUNCTION refuse_change();

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
    DELETE FROM executions_searchvalue WHERE execution_id = ANY (ARRAY(SELECT id FROM removed));
    IF EXISTS (SELECT FROM removed WHERE reported) THEN
        DELETE FROM executions_stepreport WHERE execution_id = ANY (ARRAY(SELECT id FROM removed WHERE reported));
    END IF;
    RETURN NULL;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0024_notifications_by_policy"),)
    operations = (
        migrations.AddField("execution", "reported", models.BooleanField(null=True)),
        migrations.CreateModel(
            "StepReport",
            [
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "execution_id", "lease_token", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "execution",
                    models.ForeignKey(
                        "executions.execution",
                        PROTECT,
                        db_constraint=False,
                        db_index=False,
                        related_name="step_reports",
                    ),
                ),
                ("lease_token", models.UUIDField()),
                ("transition_key", models.CharField(max_length=200)),
                ("done", models.BigIntegerField(null=True)),
                ("total", models.BigIntegerField(null=True)),
                ("message", models.CharField(db_default="", default="", max_length=200)),
                ("details", models.JSONField(null=True)),
                ("lines", models.JSONField(db_default=Value([], models.JSONField()), default=list)),
                (
                    "reported_at",
                    models.DateTimeField(db_default=TransactionNow()),
                ),
            ],
            {
                "ordering": ("execution", "reported_at", "lease_token"),
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(done=None, total=None)
                        | Q(done__isnull=False, done__gte=0) & (Q(total=None) | Q(total__gte=0)),
                        name="step_report_counts",
                    ),
                    models.CheckConstraint(
                        condition=LessThanOrEqual(
                            Func(F("lines"), function="jsonb_array_length", output_field=models.IntegerField()), 200
                        ),
                        name="step_report_lines",
                    ),
                ],
            },
        ),
        migrations.RunSQL(GUARDS),
    )
