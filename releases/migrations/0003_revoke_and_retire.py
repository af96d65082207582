"""Retirements, and what a revocation orders for the open executions of its release."""

import django.contrib.postgres.functions
import django.db.models.deletion
from django.db import migrations, models
from django.db.models import Q

STATUSES = ("UPLOADED", "VERIFYING", "REGISTERED", "REJECTED", "REVOKED", "RETIRED")
FORWARD = """
-- A revocation changes only by the progress of its order: the count grows until the order is complete.
CREATE FUNCTION guard_revocation() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF (NEW.id, NEW.release_id, NEW.actor, NEW.reason, NEW.revoked_at, NEW.open_executions)
        IS DISTINCT FROM (OLD.id, OLD.release_id, OLD.actor, OLD.reason, OLD.revoked_at, OLD.open_executions)
        OR OLD.open_executions <> 'fail' OR OLD.completed_at IS NOT NULL OR NEW.completed_at <> now()
        OR NEW.failed_executions < OLD.failed_executions
    THEN
        RAISE EXCEPTION 'revocation %: only the progress of its order can change', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END $$;
DROP TRIGGER revocation_append_only ON releases_revocation;
CREATE TRIGGER revocation_append_only BEFORE DELETE ON releases_revocation
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER revocation_guard BEFORE UPDATE ON releases_revocation
    FOR EACH ROW EXECUTE FUNCTION guard_revocation();
DROP TRIGGER revocation_starts ON releases_revocation;
CREATE TRIGGER revocation_starts AFTER INSERT ON releases_revocation
    FOR EACH ROW WHEN ((NEW.revoked_at = now() AND NEW.failed_executions = 0 AND NEW.completed_at IS NULL) IS NOT TRUE)
    EXECUTE FUNCTION refuse_insert();

CREATE TRIGGER retirement_append_only BEFORE UPDATE OR DELETE ON releases_retirement
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER retirement_not_truncated BEFORE TRUNCATE ON releases_retirement
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER retirement_starts AFTER INSERT ON releases_retirement
    FOR EACH ROW WHEN ((NEW.retired_at = now()) IS NOT TRUE) EXECUTE FUNCTION refuse_insert();

-- A release is RETIRED if and only if it has a retirement, and the active release is never retired.
CREATE FUNCTION guard_new_retirement() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM releases_release r WHERE r.id = NEW.release_id AND r.status = 'RETIRED') THEN
        RAISE EXCEPTION 'release %: it must be RETIRED before its retirement is written', NEW.release_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER retirement_of_retired AFTER INSERT ON releases_retirement
    FOR EACH ROW EXECUTE FUNCTION guard_new_retirement();

CREATE FUNCTION guard_retired() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM releases_retirement r WHERE r.release_id = NEW.id) THEN
        RAISE EXCEPTION 'release %: its retirement must be written in the transaction that retires it', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'release_retired_with_reason';
    END IF;
    IF EXISTS (SELECT FROM releases_pipeline p JOIN releases_activation a ON a.id = p.activation_id
        WHERE p.id = NEW.pipeline_id AND a.release_id = NEW.id)
    THEN
        RAISE EXCEPTION 'release %: it is active, so it cannot be retired', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'release_retired_is_not_active';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER release_retired_with_reason AFTER UPDATE OF status ON releases_release
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.status = 'RETIRED') EXECUTE FUNCTION guard_retired();
"""
BACKWARD = """
DROP FUNCTION guard_revocation, guard_new_retirement, guard_retired CASCADE;
DROP TRIGGER revocation_append_only ON releases_revocation;
CREATE TRIGGER revocation_append_only BEFORE UPDATE OR DELETE ON releases_revocation
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
DROP TRIGGER revocation_starts ON releases_revocation;
CREATE TRIGGER revocation_starts AFTER INSERT ON releases_revocation
    FOR EACH ROW WHEN ((NEW.revoked_at = now()) IS NOT TRUE) EXECUTE FUNCTION refuse_insert();
"""


class Migration(migrations.Migration):
    dependencies = (("releases", "0002_invariants"),)
    operations = (
        migrations.AlterField(
            "release", "status", models.CharField(choices=[(each, each) for each in STATUSES], max_length=12)
        ),
        migrations.RemoveConstraint("release", "release_status_known"),
        migrations.AddConstraint(
            "release", models.CheckConstraint(condition=Q(status__in=list(STATUSES)), name="release_status_known")
        ),
        migrations.AddField(
            "revocation",
            "open_executions",
            models.CharField(
                choices=[("leave", "Leave"), ("fail", "Fail")], db_default="leave", default="leave", max_length=10
            ),
        ),
        migrations.AddField("revocation", "failed_executions", models.PositiveIntegerField(db_default=0, default=0)),
        migrations.AddField("revocation", "completed_at", models.DateTimeField(null=True)),
        migrations.AddConstraint(
            "revocation",
            models.CheckConstraint(condition=Q(open_executions__in=["leave", "fail"]), name="revocation_order_known"),
        ),
        migrations.AddConstraint(
            "revocation",
            models.CheckConstraint(
                condition=Q(open_executions="fail") | Q(failed_executions=0, completed_at__isnull=True),
                name="revocation_progress_of_order",
            ),
        ),
        migrations.AddIndex(
            "revocation",
            models.Index(
                condition=Q(open_executions="fail", completed_at__isnull=True),
                fields=["revoked_at"],
                name="revocation_unfinished",
            ),
        ),
        migrations.CreateModel(
            name="Retirement",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("actor", models.CharField(max_length=200)),
                ("reason", models.CharField(max_length=1000)),
                ("given_up_failures", models.PositiveIntegerField(default=0)),
                (
                    "retired_at",
                    models.DateTimeField(db_default=django.contrib.postgres.functions.TransactionNow(), editable=False),
                ),
                (
                    "release",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT, related_name="retirement", to="releases.release"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(condition=~Q(reason__regex=r"^\s*$"), name="retirement_says_why")
                ]
            },
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    )
