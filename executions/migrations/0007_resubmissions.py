"""Links executions that were resubmitted to the new executions, and adds campaigns that resubmit."""

import django.contrib.postgres.functions
import django.db.models.deletion
from django.db import migrations, models

# The link is inserted first, so that the guard of the execution can read it. At the commit, the execution must exist.
FORWARD = """
CREATE FUNCTION guard_resubmission() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM executions_execution e WHERE e.id = NEW.execution_id
        AND e.version = NEW.execution_version AND e.finished_at IS NOT NULL)
    THEN
        RAISE EXCEPTION 'execution %: only an execution that has ended is resubmitted, in its present version',
            NEW.execution_id USING ERRCODE = 'restrict_violation', CONSTRAINT = 'resubmission_of_finished';
    END IF;
    IF NEW.campaign_id IS NOT NULL AND NOT EXISTS (
        SELECT FROM executions_campaign c JOIN executions_campaignitem i ON i.campaign_id = c.id
        WHERE c.id = NEW.campaign_id AND c.kind = 'resubmit' AND i.execution_id = NEW.execution_id
            AND i.expected_version = NEW.execution_version AND i.outcome = 'PENDING')
    THEN
        RAISE EXCEPTION 'execution %: it must be a pending item of the campaign that resubmits it', NEW.execution_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'resubmission_of_item';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER resubmission_guard AFTER INSERT ON executions_resubmission
    FOR EACH ROW EXECUTE FUNCTION guard_resubmission();

CREATE FUNCTION guard_resubmitted() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM executions_execution n, executions_execution o
        WHERE n.id = NEW.new_execution_id AND o.id = NEW.execution_id AND n.created_at = now()
            AND n.tenant_id = o.tenant_id AND n.pipeline_id = o.pipeline_id
            AND n.execution_key = concat('resubmit:', o.id, ':', NEW.operation_key)
            AND NEW.edited = (n.input_digest <> o.input_digest))
    THEN
        RAISE EXCEPTION 'resubmission of %: its new execution must be written with it, in the pipeline of the old one',
            NEW.execution_id USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER resubmission_creates_execution AFTER INSERT ON executions_resubmission
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION guard_resubmitted();

CREATE TRIGGER resubmission_append_only BEFORE UPDATE OR DELETE ON executions_resubmission
    FOR EACH ROW EXECUTE FUNCTION guard_history();
CREATE TRIGGER resubmission_not_truncated BEFORE TRUNCATE ON executions_resubmission
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE FUNCTION guard_resubmitted_item() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM executions_resubmission r
        WHERE r.new_execution_id = NEW.new_execution_id AND r.execution_id = NEW.execution_id
            AND r.campaign_id = NEW.campaign_id AND r.execution_version = NEW.expected_version)
    THEN
        RAISE EXCEPTION 'campaign item %: it is resubmitted when its campaign has created the new execution', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER campaign_item_has_resubmission AFTER UPDATE ON executions_campaignitem
    FOR EACH ROW WHEN (NEW.outcome = 'RESUBMITTED') EXECUTE FUNCTION guard_resubmitted_item();
"""
BACKWARD = """
DROP FUNCTION guard_resubmission, guard_resubmitted, guard_resubmitted_item CASCADE;
DROP TRIGGER resubmission_append_only ON executions_resubmission;
DROP TRIGGER resubmission_not_truncated ON executions_resubmission;
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0006_holds"),)
    operations = (
        migrations.CreateModel(
            name="Resubmission",
            fields=[
                (
                    "new_execution",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="origin",
                        serialize=False,
                        to="executions.execution",
                    ),
                ),
                ("execution_version", models.BigIntegerField()),
                ("operation_key", models.CharField(max_length=200)),
                ("edited", models.BooleanField()),
                ("actor", models.CharField(max_length=200)),
                ("reason", models.CharField(max_length=1000)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow(), editable=False),
                ),
            ],
            options={
                "ordering": ("-created_at", "-new_execution_id"),
            },
        ),
        migrations.AddField(
            model_name="campaign",
            name="kind",
            field=models.CharField(
                choices=[("redrive", "Redrive"), ("resubmit", "Resubmit")],
                db_default="redrive",
                default="redrive",
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="campaign",
            name="target_release_version",
            field=models.CharField(blank=True, db_default="", default="", max_length=500),
        ),
        migrations.AddField(
            model_name="campaignitem",
            name="new_execution",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="+",
                to="executions.execution",
            ),
        ),
        migrations.AlterField(
            model_name="campaignitem",
            name="outcome",
            field=models.CharField(
                choices=[
                    ("PENDING", "Pending"),
                    ("REDRIVEN", "Redriven"),
                    ("RESUBMITTED", "Resubmitted"),
                    ("SKIPPED", "Skipped"),
                ],
                db_default="PENDING",
                default="PENDING",
                max_length=12,
            ),
        ),
        migrations.AddConstraint(
            model_name="campaign",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("kind", "redrive"), ("target_release_version", "")), ("kind", "resubmit"), _connector="OR"
                ),
                name="campaign_target_of_resubmission",
            ),
        ),
        migrations.AddConstraint(
            model_name="campaignitem",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("new_execution__isnull", False), ("outcome", "RESUBMITTED")),
                    models.Q(models.Q(("outcome", "RESUBMITTED"), _negated=True), ("new_execution__isnull", True)),
                    _connector="OR",
                ),
                name="campaign_item_resubmitted",
            ),
        ),
        migrations.AddField(
            model_name="resubmission",
            name="campaign",
            field=models.ForeignKey(
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="resubmissions",
                to="executions.campaign",
            ),
        ),
        migrations.AddField(
            model_name="resubmission",
            name="execution",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="resubmissions",
                to="executions.execution",
            ),
        ),
        migrations.AddConstraint(
            model_name="resubmission",
            constraint=models.UniqueConstraint(
                fields=("execution", "operation_key"), name="resubmission_operation_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="resubmission",
            constraint=models.UniqueConstraint(
                condition=models.Q(("campaign__isnull", False)),
                fields=("execution", "execution_version"),
                name="resubmission_by_campaign_once",
            ),
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    )
