"""Failures by a revocation, confirmed campaigns over revoked releases, and no open execution on a retired release."""

import django.contrib.postgres.fields
from django.db import migrations, models

REASONS = (
    ("retry_exhausted", "Retry Exhausted"),
    ("non_retryable", "Non Retryable"),
    ("await_timeout", "Await Timeout"),
    ("await_failed", "Await Failed"),
    ("leases_lost", "Leases Lost"),
    ("release_revoked", "Release Revoked"),
)
FORWARD = """
CREATE FUNCTION guard_retirement() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM executions_execution e
        WHERE e.release_id = NEW.id AND e.status NOT IN ('SUCCEEDED', 'FAILED', 'DLQ', 'CANCELLED'))
    THEN
        RAISE EXCEPTION 'release %: it has open executions, so it cannot be retired', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER release_retired_without_executions AFTER UPDATE OF status ON releases_release
    FOR EACH ROW WHEN (NEW.status = 'RETIRED') EXECUTE FUNCTION guard_retirement();
"""
BACKWARD = "DROP FUNCTION guard_retirement CASCADE;"


class Migration(migrations.Migration):
    dependencies = (("executions", "0007_resubmissions"), ("releases", "0003_revoke_and_retire"))
    operations = (
        migrations.AlterField("deadletter", "reason", models.CharField(choices=REASONS, max_length=30)),
        migrations.AddField(
            "campaign",
            "revoked_releases",
            django.contrib.postgres.fields.ArrayField(
                base_field=models.BigIntegerField(),
                default=list,
                help_text="The revoked releases whose executions the operator has confirmed to run again.",
                size=None,
            ),
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    )
