"""Records since when outcomes wait to be read, and which lease an execution lost last, for an outcome that comes late."""

from django.db import migrations, models

# An outcome or the end of an execution clears the lost lease. So one lease gets at most one outcome, also from processes
# that do not know the column. The trigger fires only for executions that lost a lease.
FORWARD = """
CREATE FUNCTION guard_lost_lease() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NEW.lost_lease IS DISTINCT FROM OLD.lost_lease
        AND (OLD.status = 'RUNNING' AND NEW.status = 'QUEUED' AND NEW.lost_lease = OLD.lease_token) IS NOT TRUE
    THEN
        RAISE EXCEPTION 'execution %: it did not lose this lease', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    IF NEW.status NOT IN ('QUEUED', 'RUNNING') THEN
        NEW.lost_lease := NULL;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER execution_lost_lease BEFORE UPDATE ON executions_execution
    FOR EACH ROW WHEN (NEW.lost_lease IS NOT NULL) EXECUTE FUNCTION guard_lost_lease();
"""
BACKWARD = """
DROP TRIGGER execution_lost_lease ON executions_execution;
DROP FUNCTION guard_lost_lease;
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0029_eligibility_of_present_workers"),)
    operations = (
        migrations.CreateModel(
            name="OutcomePath",
            fields=[
                ("id", models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("began_at", models.DateTimeField(null=True)),
                ("unread_since", models.DateTimeField(null=True)),
                ("expected_by", models.DateTimeField(null=True)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="outcome_path_once"),
                    models.CheckConstraint(
                        condition=models.Q(began_at=None, unread_since=None, expected_by=None)
                        | models.Q(
                            began_at__isnull=False,
                            unread_since__isnull=False,
                            expected_by__isnull=False,
                            began_at__lte=models.F("unread_since"),
                            expected_by__gt=models.F("unread_since"),
                        ),
                        name="outcome_path_expects_more",
                    ),
                ],
            },
        ),
        migrations.AddField("execution", "lost_lease", models.UUIDField(null=True)),
        migrations.RunSQL(FORWARD, BACKWARD),
    )
