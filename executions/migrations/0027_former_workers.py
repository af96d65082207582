"""Workers that stopped are in no index of present workers, and may be removed after a time."""

from django.db import migrations, models

GUARD = """
-- A worker may be removed a day after it stopped, unless an operator drains it: that drain ends only by a request.
CREATE FUNCTION guard_worker_removal() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF OLD.stopped_at < now() - interval '1 day' AND OLD.drained_by_operator_at IS NULL THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'worker %: it is kept for a day after it stopped, and while an operator drains it', OLD.id
        USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
END $$;
CREATE TRIGGER worker_kept BEFORE DELETE ON executions_worker
    FOR EACH ROW EXECUTE FUNCTION guard_worker_removal();
CREATE TRIGGER worker_not_truncated BEFORE TRUNCATE ON executions_worker
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
UNGUARD = """
DROP TRIGGER worker_not_truncated ON executions_worker;
DROP TRIGGER worker_kept ON executions_worker;
DROP FUNCTION guard_worker_removal;
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0026_resubmissions_are_admitted"),)
    operations = (
        migrations.AddIndex(
            "worker",
            models.Index(
                fields=("tenant", "pipeline_id"), condition=models.Q(stopped_at=None), name="worker_not_stopped"
            ),
        ),
        migrations.AddIndex(
            "worker",
            models.Index(fields=("stopped_at",), condition=models.Q(stopped_at__isnull=False), name="worker_stopped"),
        ),
        migrations.RunSQL(GUARD, UNGUARD),
    )
