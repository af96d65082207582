"""A submission may say when its execution starts: not before a time, not after a time, and before or after others.

The columns are null for all other executions and take no space in them. A trigger sets when such an execution is due:
the application chooses no due time of a new row. Claims and the index of due executions stay as they are.
"""

from django.db import migrations, models

STARTS = """
-- Returns when an execution of this priority is due that could start now. A high one is due as long as the one that has
-- been due longest, but no longer than an hour. A low one is due in an hour, or earlier if `promote_low` finds room.
CREATE FUNCTION queue_time(of_release bigint, priority smallint) RETURNS timestamptz LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
BEGIN
    RETURN CASE WHEN priority < 0 THEN now() + interval '1 hour'
        WHEN priority > 0 THEN least(now(), (SELECT greatest(now() - interval '1 hour', e.next_due_at)
            FROM executions_execution e
            WHERE e.release_id = of_release AND e.status IN ('QUEUED', 'WAIT_RETRY') AND NOT e.held
            ORDER BY e.next_due_at LIMIT 1))
        ELSE now() END;
END $$;

CREATE FUNCTION set_start() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NEW.expires_at <= NEW.not_before OR NEW.not_before > now() + interval '366 days'
        OR NEW.priority NOT IN (-1, 1)
    THEN
        RAISE EXCEPTION 'execution %: it starts within a year and before it expires, with a known priority', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_start_possible';
    END IF;
    NEW.next_due_at := CASE WHEN NEW.not_before > now() THEN NEW.not_before
        ELSE queue_time(NEW.release_id, NEW.priority) END;
    RETURN NEW;
END $$;
CREATE TRIGGER execution_start BEFORE INSERT ON executions_execution FOR EACH ROW
    WHEN (NEW.not_before IS NOT NULL OR NEW.expires_at IS NOT NULL OR NEW.priority IS NOT NULL)
    EXECUTE FUNCTION set_start();
CREATE TRIGGER execution_start_immutable BEFORE UPDATE OF not_before, expires_at, priority ON executions_execution
    FOR EACH ROW WHEN ((NEW.not_before, NEW.expires_at, NEW.priority)
        IS DISTINCT FROM (OLD.not_before, OLD.expires_at, OLD.priority)) EXECUTE FUNCTION refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0024_notifications_by_policy"),)
    operations = (
        migrations.AddField("execution", "not_before", models.DateTimeField(null=True)),
        migrations.AddField("execution", "expires_at", models.DateTimeField(null=True)),
        migrations.AddField("execution", "priority", models.SmallIntegerField(null=True)),
        migrations.RunSQL(STARTS),
    )
