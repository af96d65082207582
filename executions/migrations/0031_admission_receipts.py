"""Receipts of strict admissions: which execution was admitted under a client key. They are kept permanently."""

import django.contrib.postgres.functions
import django.db.models.deletion
from django.db import migrations, models

# The receipt and its execution are written in one transaction. The key is that of wire.messages.admissions: no other
# submission can have it, and it is unique, so one of several requests with a client key is admitted.
FORWARD = """
CREATE FUNCTION guard_admission_receipt() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM executions_execution e
        WHERE e.id = NEW.execution_id AND e.created_at = now() AND e.release_id = NEW.release_id
            AND e.tenant_id = NEW.tenant_id AND e.pipeline_id = NEW.pipeline_id
            AND e.execution_key = concat('execution', chr(160), 'admission:', NEW.client_key))
    THEN
        RAISE EXCEPTION 'admission receipt %: it is written with its execution, which has its key', NEW.execution_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER admission_receipt_of_execution AFTER INSERT ON executions_admissionreceipt
    FOR EACH ROW EXECUTE FUNCTION guard_admission_receipt();
CREATE TRIGGER admission_receipt_append_only BEFORE UPDATE OR DELETE ON executions_admissionreceipt
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER admission_receipt_not_truncated BEFORE TRUNCATE ON executions_admissionreceipt
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
BACKWARD = """
DROP FUNCTION guard_admission_receipt CASCADE;
DROP TRIGGER admission_receipt_append_only ON executions_admissionreceipt;
DROP TRIGGER admission_receipt_not_truncated ON executions_admissionreceipt;
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0030_late_outcomes"),)
    operations = (
        migrations.CreateModel(
            name="AdmissionReceipt",
            fields=[
                (
                    "execution",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="admission",
                        serialize=False,
                        to="executions.execution",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenancy.tenant",
                    ),
                ),
                ("pipeline_id", models.CharField(max_length=500)),
                (
                    "release",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="releases.release",
                    ),
                ),
                ("client_key", models.CharField(max_length=200)),
                ("intent_fingerprint", models.CharField(max_length=64)),
                ("release_fingerprint", models.CharField(max_length=64)),
                ("artifact_id", models.CharField(max_length=500)),
                ("artifact_digest", models.CharField(max_length=500)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow(), editable=False),
                ),
            ],
            options={
                "ordering": ("-created_at", "-execution_id"),
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "pipeline_id", "client_key"), name="admission_receipt_key_once"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("intent_fingerprint__regex", "^[0-9a-f]{64}$"),
                            ("release_fingerprint__regex", "^[0-9a-f]{64}$"),
                        ),
                        name="admission_receipt_fingerprints",
                    ),
                ],
            },
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    )
