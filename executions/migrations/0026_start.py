"""A submission may say when its execution starts, and a release how many of its executions are in progress (ADR 125).

The columns are null for all other executions and take no space in them. A trigger sets when such an execution is due:
the application chooses no due time of a new row. Claims and the index of due executions stay as they are.

An execution with a concurrency key takes a place of its key before it is due, and keeps it until its end. Until it has
one, it is due 7,000 years later than it would be. Nothing counts places: the executions with a place are those of the key
that have not ended and are due in this millennium. A lock on the key makes each decision see all earlier ones.
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

-- Returns how many executions may be in progress with the key of an execution of this release.
CREATE FUNCTION place_limit(of_release bigint) RETURNS int LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT (r.declarations -> 'concurrency' ->> 'limit')::int FROM releases_release r WHERE r.id = of_release
$$;

-- Makes the other decisions about this key wait until the transaction ends, and returns whether a place is free. It is
-- volatile, so the count sees what others committed before they released the lock.
CREATE FUNCTION lock_place(of_tenant bigint, of_pipeline text, of_key text, of_release bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7326, hashtext(concat_ws(' ', of_tenant, of_pipeline, of_key)));
    RETURN (SELECT count(*) FROM executions_execution e
        WHERE e.tenant_id = of_tenant AND e.pipeline_id = of_pipeline AND e.concurrency_key = of_key
            AND e.finished_at IS NULL AND e.next_due_at < '9000-01-01') < coalesce(place_limit(of_release), 1);
END $$;

-- Returns when an execution is due that waits for a place from this time on: a high one as if it had waited for an hour
-- already, and a low one as if it began to wait an hour later.
CREATE FUNCTION wait_time(since timestamptz, priority smallint) RETURNS timestamptz LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT since - coalesce(priority, 0) * interval '1 hour' + interval '7000 years'
$$;

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
    IF NEW.concurrency_key IS NULL THEN
        RETURN NEW;
    END IF;
    -- A resubmission is an order of an operator: it waits.
    IF (NEW.not_before > now()) IS NOT TRUE AND NOT starts_with(NEW.execution_key, 'resubmit:')
        AND (SELECT r.declarations -> 'concurrency' ->> 'whenFull' = 'refuse'
            FROM releases_release r WHERE r.id = NEW.release_id)
    THEN
        IF NOT lock_place(NEW.tenant_id, NEW.pipeline_id, NEW.concurrency_key, NEW.release_id) THEN
            RAISE EXCEPTION 'execution %: all places of its key are taken', NEW.id
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_place_free';
        END IF;
        RETURN NEW;
    END IF;
    NEW.next_due_at := wait_time(greatest(now(), NEW.not_before), NEW.priority);
    RETURN NEW;
END $$;
CREATE TRIGGER execution_start BEFORE INSERT ON executions_execution FOR EACH ROW
    WHEN (NEW.not_before IS NOT NULL OR NEW.expires_at IS NOT NULL OR NEW.priority IS NOT NULL
        OR NEW.concurrency_key IS NOT NULL)
    EXECUTE FUNCTION set_start();

-- Nothing gets a place while all are taken, whoever changes the row. A re-drive takes a new one.
CREATE FUNCTION guard_place() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF OLD.finished_at IS NOT NULL AND NEW.finished_at IS NULL THEN
        NEW.next_due_at := wait_time(now(), NEW.priority);
    ELSIF NEW.finished_at IS NULL AND OLD.next_due_at >= '9000-01-01' THEN
        IF NEW.status <> 'QUEUED' THEN
            RAISE EXCEPTION 'execution %: it has no place of its key', OLD.id
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_has_place';
        END IF;
        IF NEW.next_due_at < '9000-01-01'
            AND NOT lock_place(NEW.tenant_id, NEW.pipeline_id, NEW.concurrency_key, NEW.release_id)
        THEN
            RAISE EXCEPTION 'execution %: all places of its key are taken', OLD.id
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_place_free';
        END IF;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER execution_place BEFORE UPDATE OF status, next_due_at ON executions_execution FOR EACH ROW
    WHEN (OLD.concurrency_key IS NOT NULL AND (OLD.next_due_at >= '9000-01-01' OR OLD.finished_at IS NOT NULL))
    EXECUTE FUNCTION guard_place();

-- Gives the free places of a key to the executions that wait for one, in the order in which they would be due. Returns how
-- many got one. Paused ones, ones before their time, and ones that another transaction is changing get none.
CREATE FUNCTION grant_places(of_tenant bigint, of_pipeline text, of_key text) RETURNS int LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    granted int := 0;
    waiting record;
BEGIN
    PERFORM pg_advisory_xact_lock(7326, hashtext(concat_ws(' ', of_tenant, of_pipeline, of_key)));
    LOOP
        SELECT e.id, e.release_id, e.priority INTO waiting FROM executions_execution e
            WHERE e.tenant_id = of_tenant AND e.pipeline_id = of_pipeline AND e.concurrency_key = of_key
                AND e.finished_at IS NULL AND e.next_due_at >= '9000-01-01' AND NOT e.held
                AND (e.version > 0 OR e.not_before IS NULL OR e.not_before <= now())
            ORDER BY e.next_due_at, e.id LIMIT 1 FOR UPDATE SKIP LOCKED;
        EXIT WHEN NOT FOUND OR NOT lock_place(of_tenant, of_pipeline, of_key, waiting.release_id);
        UPDATE executions_execution e SET next_due_at = queue_time(waiting.release_id,
            CASE WHEN waiting.priority > 0 THEN waiting.priority END) WHERE e.id = waiting.id;
        granted := granted + 1;
    END LOOP;
    RETURN granted;
END $$;
CREATE TRIGGER execution_start_immutable BEFORE UPDATE OF not_before, expires_at, priority, concurrency_key
    ON executions_execution
    FOR EACH ROW WHEN ((NEW.not_before, NEW.expires_at, NEW.priority, NEW.concurrency_key)
        IS DISTINCT FROM (OLD.not_before, OLD.expires_at, OLD.priority, OLD.concurrency_key))
    EXECUTE FUNCTION refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0025_step_reports"), ("releases", "0007_declarations"))
    operations = (
        migrations.AddField("execution", "not_before", models.DateTimeField(null=True)),
        migrations.AddField("execution", "expires_at", models.DateTimeField(null=True)),
        migrations.AddField("execution", "priority", models.SmallIntegerField(null=True)),
        migrations.AddField("execution", "concurrency_key", models.CharField(max_length=800, null=True)),
        migrations.RunSQL(STARTS),
    )
