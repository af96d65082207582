"""Activations say whether they are rollbacks, and their times never decrease."""

from django.db import migrations, models

FORWARD = r"""
-- A rollback returns to a release that was active before and is not active now. The history decides what an activation
-- is, so a row that says otherwise is rejected. Unknown kinds are left to the CHECK constraint.
CREATE FUNCTION guard_activation_kind() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    returns boolean := NEW.release_id IS DISTINCT FROM NEW.previous_id AND EXISTS (
        SELECT FROM releases_activation a WHERE a.pipeline_id = NEW.pipeline_id AND a.release_id = NEW.release_id);
BEGIN
    IF (returns AND NEW.kind = 'activation') OR (NOT returns AND NEW.kind = 'rollback') THEN
        RAISE EXCEPTION 'activation %: it is no %', NEW.sequence, NEW.kind
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'activation_kind_of_history';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER activation_kind BEFORE INSERT ON releases_activation
    FOR EACH ROW EXECUTE FUNCTION guard_activation_kind();

-- The time under the lock of the pipeline. The start of the transaction, which may have waited for the lock, could be
-- earlier than the time of an activation that precedes this one.
CREATE FUNCTION stamp_activation() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    NEW.activated_at := greatest(clock_timestamp(), (
        SELECT a.activated_at FROM releases_activation a
        WHERE a.pipeline_id = NEW.pipeline_id ORDER BY a.sequence DESC LIMIT 1));
    RETURN NEW;
END $$;
CREATE TRIGGER activation_stamped BEFORE INSERT ON releases_activation
    FOR EACH ROW EXECUTE FUNCTION stamp_activation();
DROP TRIGGER activation_starts ON releases_activation;
"""
BACKWARD = """
DROP FUNCTION guard_activation_kind, stamp_activation CASCADE;
CREATE TRIGGER activation_starts AFTER INSERT ON releases_activation
    FOR EACH ROW WHEN ((NEW.activated_at = now()) IS NOT TRUE) EXECUTE FUNCTION refuse_insert();
"""


class Migration(migrations.Migration):
    dependencies = (("releases", "0003_revoke_and_retire"),)
    operations = (
        migrations.AddField(
            model_name="activation",
            name="kind",
            field=models.CharField(
                choices=[("activation", "Activation"), ("rollback", "Rollback")], default="activation", max_length=10
            ),
        ),
        migrations.AddField(
            model_name="pipeline",
            name="rollback_days",
            field=models.PositiveIntegerField(
                default=30,
                help_text="How many days ago a release may have been active so that the scope releases:roll-back "
                "suffices.",
            ),
        ),
        migrations.AddConstraint(
            model_name="activation",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", ["activation", "rollback"])), name="activation_kind_known"
            ),
        ),
        migrations.AddConstraint(
            model_name="activation",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("kind", "rollback"), _negated=True),
                    models.Q(("reason__regex", "^\\s*$"), _negated=True),
                    _connector="OR",
                ),
                name="activation_rollback_says_why",
            ),
        ),
        migrations.AddConstraint(
            model_name="pipeline",
            constraint=models.CheckConstraint(
                condition=models.Q(("rollback_days__range", (1, 3650))), name="pipeline_rollback_days"
            ),
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    )
