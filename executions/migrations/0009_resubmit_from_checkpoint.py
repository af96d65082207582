"""Resubmissions that start at the checkpoint of the old execution, and pauses that revocations order."""

from django.db import migrations, models
from django.db.models import Q

FORWARD = """
-- A new execution starts at step 0 with its input. Only a linked one may start with the checkpoint that it continues.
CREATE FUNCTION guard_start() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM executions_resubmission s JOIN executions_execution o ON o.id = s.execution_id
        WHERE s.new_execution_id = NEW.id AND s.created_at = now() AND s.checkpoint_step = NEW.current_step_index
            AND o.version = s.execution_version AND o.finished_at IS NOT NULL
            AND (o.tenant_id, o.pipeline_id, o.input_digest) = (NEW.tenant_id, NEW.pipeline_id, NEW.input_digest)
            AND (o.current_step_index, o.progress, o.progress_shape)
                = (NEW.current_step_index, NEW.progress, NEW.progress_shape))
    THEN
        RAISE EXCEPTION 'execution %: it starts with its input, or as its link says with the checkpoint of the old one',
            NEW.id USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER execution_starts_at_checkpoint AFTER INSERT ON executions_execution FOR EACH ROW
    WHEN (NEW.current_step_index <> 0 OR NEW.progress IS NOT NULL OR NEW.progress_shape IS NOT NULL)
    EXECUTE FUNCTION guard_start();

CREATE FUNCTION guard_continued() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM executions_execution n
        WHERE n.id = NEW.new_execution_id AND n.current_step_index = NEW.checkpoint_step AND n.progress IS NOT NULL)
    THEN
        RAISE EXCEPTION 'resubmission of %: its new execution must start with the checkpoint', NEW.execution_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER resubmission_continues AFTER INSERT ON executions_resubmission
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.checkpoint_step IS NOT NULL)
    EXECUTE FUNCTION guard_continued();

CREATE FUNCTION guard_pausing_revocation() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM executions_hold h WHERE h.release_id = NEW.release_id AND h.ended_at IS NULL) THEN
        RAISE EXCEPTION 'release %: it must be paused in the transaction of the revocation that orders it', NEW.release_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER revocation_pauses_release AFTER INSERT ON releases_revocation
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.open_executions = 'pause')
    EXECUTE FUNCTION guard_pausing_revocation();

CREATE TRIGGER campaign_start_immutable BEFORE UPDATE OF start_from ON executions_campaign
    FOR EACH ROW WHEN (NEW.start_from IS DISTINCT FROM OLD.start_from) EXECUTE FUNCTION refuse_change();
"""
BACKWARD = """
DROP FUNCTION guard_start, guard_continued, guard_pausing_revocation CASCADE;
DROP TRIGGER campaign_start_immutable ON executions_campaign;
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0008_revoke_and_retire"), ("releases", "0006_revoke_and_pause"))
    operations = (
        migrations.AddField("resubmission", "checkpoint_step", models.IntegerField(null=True)),
        migrations.AddConstraint(
            "resubmission",
            models.CheckConstraint(
                condition=Q(checkpoint_step__isnull=True) | Q(checkpoint_step__gte=0, edited=False),
                name="resubmission_from_checkpoint",
            ),
        ),
        migrations.AddField(
            "campaign",
            "start_from",
            models.CharField(
                choices=[("input", "Input"), ("checkpoint", "Checkpoint")],
                db_default="input",
                default="input",
                max_length=10,
            ),
        ),
        migrations.AddConstraint(
            "campaign",
            models.CheckConstraint(
                condition=Q(start_from="input") | Q(kind="resubmit", start_from="checkpoint"),
                name="campaign_start_of_resubmission",
            ),
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    )
