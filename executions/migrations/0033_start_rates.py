"""A release may limit how many executions start in a period, and let the newest of a burst replace the others (ADR 125).

Both count by the concurrency key. An execution that waits for its rate, or for a quiet time, waits as for a place: it is
due 7,000 years later. The database notes when a worker first gets an execution with a key, and counts those starts.
"""

from django.db import migrations, models

RATES = """
-- Makes the other decisions about this key wait until the transaction ends.
CREATE FUNCTION lock_key(of_tenant bigint, of_pipeline text, of_key text) RETURNS void LANGUAGE sql
SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT pg_advisory_xact_lock(7326, hashtext(concat_ws(' ', of_tenant, of_pipeline, of_key)))
$$;

-- Returns how many executions may be in progress with the key of an execution of this release: what the release declares,
-- or what the policy of the pipeline says in its place. NULL: the release declares no such limit.
CREATE OR REPLACE FUNCTION place_limit(of_release bigint) RETURNS int LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT CASE WHEN r.declarations -> 'concurrency' ? 'limit'
        THEN coalesce(p.concurrency_limit, (r.declarations -> 'concurrency' ->> 'limit')::int) END
    FROM releases_release r JOIN releases_pipeline p ON p.id = r.pipeline_id WHERE r.id = of_release
$$;

CREATE OR REPLACE FUNCTION lock_place(of_tenant bigint, of_pipeline text, of_key text, of_release bigint) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    most int;
BEGIN
    PERFORM lock_key(of_tenant, of_pipeline, of_key);
    most := place_limit(of_release);
    RETURN most IS NULL OR (SELECT count(*) FROM executions_execution e
        WHERE e.tenant_id = of_tenant AND e.pipeline_id = of_pipeline AND e.concurrency_key = of_key
            AND e.finished_at IS NULL AND e.next_due_at < '9000-01-01') < most;
END $$;

-- Returns how long it takes until the rate of this release permits another start with this key; zero if it does now. It
-- counts the starts of the period, and the executions that are due and that no worker has got. The caller holds the lock
-- of the key. It is volatile, so it sees what others committed before they released the lock.
CREATE FUNCTION rate_wait(of_tenant bigint, of_pipeline text, of_key text, of_release bigint) RETURNS interval
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    most int;
    period interval;
    unstarted int;
    oldest timestamptz;
BEGIN
    SELECT coalesce(p.rate_limit, (r.declarations #>> '{concurrency,rate,limit}')::int),
        make_interval(secs => (r.declarations #>> '{concurrency,rate,seconds}')::float8) INTO most, period
    FROM releases_release r JOIN releases_pipeline p ON p.id = r.pipeline_id
    WHERE r.id = of_release AND r.declarations -> 'concurrency' ? 'rate';
    IF NOT FOUND THEN
        RETURN interval '0';
    END IF;
    SELECT count(*) INTO unstarted FROM executions_execution e
    WHERE e.tenant_id = of_tenant AND e.pipeline_id = of_pipeline AND e.concurrency_key = of_key
        AND e.started_at IS NULL AND e.finished_at IS NULL AND e.next_due_at < '9000-01-01' AND e.status = 'QUEUED';
    IF unstarted >= most THEN
        RETURN period;
    END IF;
    SELECT e.started_at INTO oldest FROM executions_execution e
    WHERE e.tenant_id = of_tenant AND e.pipeline_id = of_pipeline AND e.concurrency_key = of_key
        AND e.started_at > now() - period
    ORDER BY e.started_at DESC OFFSET most - unstarted - 1 LIMIT 1;
    RETURN CASE WHEN FOUND THEN oldest + period - now() ELSE interval '0' END;
END $$;

-- Notes when a worker first gets an execution that has a concurrency key. A re-drive counts as another start.
CREATE FUNCTION note_start() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    NEW.started_at := clock_timestamp();
    RETURN NEW;
END $$;
CREATE TRIGGER execution_started BEFORE UPDATE OF status ON executions_execution FOR EACH ROW
    WHEN (NEW.status = 'RUNNING' AND OLD.concurrency_key IS NOT NULL AND OLD.started_at IS NULL)
    EXECUTE FUNCTION note_start();
CREATE TRIGGER execution_started_immutable BEFORE UPDATE OF started_at ON executions_execution FOR EACH ROW
    WHEN (NEW.started_at IS DISTINCT FROM OLD.started_at) EXECUTE FUNCTION refuse_change();

CREATE OR REPLACE FUNCTION set_start() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    rules jsonb;
    quiet interval;
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
    NEW.started_at := NULL;
    SELECT r.declarations -> 'concurrency' INTO rules FROM releases_release r WHERE r.id = NEW.release_id;
    -- A resubmission is an order of an operator: it waits, but for no newer submission.
    IF (NEW.not_before > now()) IS NOT TRUE AND NOT starts_with(NEW.execution_key, 'resubmit:')
        AND rules ->> 'whenFull' = 'refuse'
    THEN
        IF NOT lock_place(NEW.tenant_id, NEW.pipeline_id, NEW.concurrency_key, NEW.release_id) THEN
            RAISE EXCEPTION 'execution %: all places of its key are taken', NEW.id
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_place_free';
        END IF;
        IF rate_wait(NEW.tenant_id, NEW.pipeline_id, NEW.concurrency_key, NEW.release_id) > interval '0' THEN
            RAISE EXCEPTION 'execution %: its key has used up the rate', NEW.id
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_rate_free';
        END IF;
        RETURN NEW;
    END IF;
    quiet := make_interval(secs => CASE WHEN starts_with(NEW.execution_key, 'resubmit:') THEN 0
        ELSE coalesce((rules ->> 'debounceSeconds')::float8, 0) END);
    NEW.next_due_at := wait_time(greatest(now(), NEW.not_before) + quiet, NEW.priority);
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION guard_place() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF OLD.finished_at IS NOT NULL AND NEW.finished_at IS NULL THEN
        NEW.next_due_at := wait_time(now(), NEW.priority);
        NEW.started_at := NULL;
    ELSIF NEW.finished_at IS NULL AND OLD.next_due_at >= '9000-01-01' THEN
        IF NEW.status <> 'QUEUED' THEN
            RAISE EXCEPTION 'execution %: it has no place of its key', OLD.id
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_has_place';
        END IF;
        IF NEW.next_due_at < '9000-01-01' THEN
            IF NOT lock_place(NEW.tenant_id, NEW.pipeline_id, NEW.concurrency_key, NEW.release_id) THEN
                RAISE EXCEPTION 'execution %: all places of its key are taken', OLD.id
                    USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_place_free';
            END IF;
            IF rate_wait(NEW.tenant_id, NEW.pipeline_id, NEW.concurrency_key, NEW.release_id) > interval '0' THEN
                RAISE EXCEPTION 'execution %: its key has used up the rate', OLD.id
                    USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_rate_free';
            END IF;
        END IF;
    END IF;
    RETURN NEW;
END $$;

-- Returns from when on an execution waits for a place, which `wait_time` moved by 7,000 years.
CREATE FUNCTION waits_since(due timestamptz, priority smallint) RETURNS timestamptz LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT due - interval '7000 years' + coalesce(priority, 0) * interval '1 hour'
$$;

-- Gives the free places of a key to the executions that wait for one, in the order in which they would be due. Executions
-- that are paused, or whose release or pipeline is, that are before their time, or that another transaction is changing get none.
-- `granted` is how many got one. `wait_seconds` is when to try again because time has passed; NULL if that is no reason.
-- With `replaced`, a newer submission replaces the next one, which must be cancelled first.
CREATE FUNCTION grant_starts(of_tenant bigint, of_pipeline text, of_key text,
    OUT granted int, OUT wait_seconds float8, OUT replaced boolean) LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    waiting record;
    pause interval;
BEGIN
    granted := 0;
    replaced := false;
    PERFORM lock_key(of_tenant, of_pipeline, of_key);
    LOOP
        SELECT e.id, e.release_id, e.priority, e.created_at INTO waiting FROM executions_execution e
            WHERE e.tenant_id = of_tenant AND e.pipeline_id = of_pipeline AND e.concurrency_key = of_key
                AND e.finished_at IS NULL AND e.next_due_at >= '9000-01-01' AND NOT e.held
                AND e.next_due_at <= wait_time(now(), -1::smallint) AND waits_since(e.next_due_at, e.priority) <= now()
                AND NOT EXISTS (SELECT FROM executions_hold h WHERE h.release_id = e.release_id AND h.ended_at IS NULL)
                AND NOT EXISTS (SELECT FROM executions_hold h JOIN releases_release r ON r.pipeline_id = h.pipeline_id
                    WHERE r.id = e.release_id AND h.ended_at IS NULL)
            ORDER BY e.next_due_at, e.id LIMIT 1 FOR UPDATE OF e SKIP LOCKED;
        EXIT WHEN NOT FOUND;
        replaced := is_replaced(waiting.id);
        EXIT WHEN replaced OR NOT lock_place(of_tenant, of_pipeline, of_key, waiting.release_id);
        pause := rate_wait(of_tenant, of_pipeline, of_key, waiting.release_id);
        IF pause > interval '0' THEN
            wait_seconds := extract(epoch FROM pause);
            EXIT;
        END IF;
        UPDATE executions_execution e SET next_due_at = queue_time(waiting.release_id,
            CASE WHEN waiting.priority > 0 THEN waiting.priority END) WHERE e.id = waiting.id;
        granted := granted + 1;
    END LOOP;
    IF waiting.id IS NULL THEN
        SELECT e.id, extract(epoch FROM waits_since(e.next_due_at, e.priority) - now()) AS seconds INTO waiting
            FROM executions_execution e
            WHERE e.tenant_id = of_tenant AND e.pipeline_id = of_pipeline AND e.concurrency_key = of_key
                AND e.finished_at IS NULL AND e.next_due_at >= '9000-01-01' AND NOT e.held
                AND waits_since(e.next_due_at, e.priority) > now()
            ORDER BY e.next_due_at, e.id LIMIT 1;
        IF FOUND THEN
            wait_seconds := waiting.seconds;
            replaced := is_replaced(waiting.id);
        END IF;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION grant_places(of_tenant bigint, of_pipeline text, of_key text) RETURNS int LANGUAGE sql
SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT granted FROM grant_starts(of_tenant, of_pipeline, of_key)
$$;

-- Returns whether a newer submission with its key replaces an execution that waits: its release debounces, and nothing
-- but a submission has changed either of them.
CREATE FUNCTION is_replaced(of_execution uuid) RETURNS boolean LANGUAGE sql
SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
    SELECT EXISTS (
        SELECT FROM executions_execution e
        JOIN releases_release r ON r.id = e.release_id AND r.declarations -> 'concurrency' ? 'debounceSeconds'
        JOIN executions_execution n ON n.tenant_id = e.tenant_id AND n.pipeline_id = e.pipeline_id
            AND n.concurrency_key = e.concurrency_key AND n.finished_at IS NULL AND n.next_due_at >= '9000-01-01'
        WHERE e.id = of_execution AND e.version = 0 AND NOT starts_with(e.execution_key, 'resubmit:')
            AND n.version = 0 AND NOT starts_with(n.execution_key, 'resubmit:')
            AND (n.created_at, n.id) > (e.created_at, e.id))
$$;
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0032_failed_items_checked"), ("releases", "0010_start_limits"))
    operations = (
        migrations.AddField("execution", "started_at", models.DateTimeField(null=True)),
        migrations.RunSQL(RATES),
    )
