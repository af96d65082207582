"""The events of a worker are removed with it."""

from django.db import migrations

FORWARD = """
-- Events are removed after their worker, in its transaction, whose foreign keys are checked at the end.
CREATE FUNCTION guard_worker_history() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' AND NOT EXISTS (SELECT FROM executions_worker w WHERE w.id = OLD.worker_id) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'worker event %: it is append-only', OLD.id
        USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
END $$;
DROP TRIGGER workerevent_append_only ON executions_workerevent;
CREATE TRIGGER workerevent_append_only BEFORE UPDATE OR DELETE ON executions_workerevent
    FOR EACH ROW EXECUTE FUNCTION guard_worker_history();
"""
BACKWARD = """
DROP TRIGGER workerevent_append_only ON executions_workerevent;
DROP FUNCTION guard_worker_history;
CREATE TRIGGER workerevent_append_only BEFORE UPDATE OR DELETE ON executions_workerevent
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0027_former_workers"),)
    operations = (migrations.RunSQL(FORWARD, BACKWARD),)
