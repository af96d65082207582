"""Claims see a pause that has returned, and a failure is new to an acknowledgement that did not see it."""

from django.db import migrations

# Every claim of due work takes the lock of the pipeline in shared mode, and then looks for holds: a claim of executions,
# a timer, a deadline and a webhook. A pause takes it exclusively after it has written its hold. So it waits for claims
# that began earlier, and every later claim sees the hold. The function is volatile, so that it sees what was committed
# before it got the lock. It never waits: it returns null while a pause is being made.
# 7307 is the class of these locks. A pipeline has one, whatever the number of its releases.
MAY_CLAIM = """
CREATE OR REPLACE FUNCTION may_claim(release bigint) RETURNS boolean LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF pg_try_advisory_xact_lock_shared(7307, hashint8((SELECT r.pipeline_id FROM releases_release r WHERE r.id = release)))
    THEN
        RETURN NOT EXISTS (SELECT FROM executions_heldrelease h WHERE h.release_id = release);
    END IF;
    RETURN NULL;
END $$
"""

# As in migration 0004, but `may_claim` looks for holds.
COUNT = """
CREATE OR REPLACE FUNCTION count_running_for_claim(release bigint, rest_owners text[]) RETURNS jsonb LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    allowed boolean;
BEGIN
    IF NOT pg_try_advisory_xact_lock(7306, hashint8(release)) THEN
        RETURN NULL;
    END IF;
    allowed := may_claim(release);
    IF allowed IS NOT TRUE THEN
        RETURN CASE WHEN NOT allowed THEN 'null'::jsonb END;
    END IF;
    RETURN (SELECT coalesce(jsonb_object_agg(lease_owner, running), '{}') FROM (
        SELECT lease_owner, count(*) AS running FROM (
            SELECT e.lease_owner FROM executions_execution e WHERE e.release_id = release AND e.status = 'RUNNING'
            UNION ALL
            SELECT elsewhere.lease_owner FROM releases_release r
            JOIN releases_release other ON other.pipeline_id = r.pipeline_id AND other.id <> r.id
            CROSS JOIN LATERAL (SELECT e.lease_owner FROM executions_execution e
                WHERE e.release_id = other.id AND e.status = 'RUNNING' OFFSET 0) elsewhere
            WHERE rest_owners IS NOT NULL AND r.id = release AND elsewhere.lease_owner = ANY (rest_owners)
        ) leases GROUP BY lease_owner) held);
END $$
"""

# A failure takes the lock of its tenant in shared mode, and then its time. An acknowledgement takes the same lock
# exclusively for a moment, and its time meanwhile. So it has seen each failure with an earlier time, and each other one
# has a later time, in any order of both transactions. Neither waits for the other's commit, but for an
# acknowledgement of failures that are being written. The rollback of the inner block ends the lock.
# 7308 is the class of these locks.
FAILURES = """
CREATE OR REPLACE FUNCTION set_failure_group() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    NEW.failed_step_index := coalesce(failed_step(NEW.execution_id, NEW.terminal_status, now()), NEW.step_index);
    NEW.group_id := (SELECT failure_group_id(e.release_id, NEW.failed_step_index,
            failure_fingerprint(NEW.error_code, NEW.error_message))
        FROM executions_execution e WHERE e.id = NEW.execution_id AND NOT e.smoke);
    PERFORM pg_advisory_xact_lock_shared(7308, hashint8(NEW.tenant_id));
    NEW.created_at := clock_timestamp();
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION add_failure_groups() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    INSERT INTO public.executions_failuregroup (id, tenant_id, release_id, step_index, fingerprint, error_code,
        sample_message, first_seen_at, last_seen_at)
    SELECT DISTINCT ON (a.group_id) a.group_id, a.tenant_id, e.release_id, a.failed_step_index, a.fingerprint,
        a.error_code, a.error_message, now(), now()
    FROM added a JOIN public.executions_execution e ON e.id = a.execution_id
    WHERE a.group_id IS NOT NULL
        AND NOT EXISTS (SELECT FROM public.executions_failuregroup g WHERE g.id = a.group_id)
    ORDER BY a.group_id ON CONFLICT DO NOTHING;
    UPDATE public.executions_failuregroup g SET last_seen_at = greatest(g.last_seen_at, clock_timestamp())
    FROM (SELECT f.id FROM public.executions_failuregroup f
        WHERE f.id IN (SELECT group_id FROM added)
            AND (f.last_seen_at < now() - interval '1 minute' OR f.last_seen_at <= f.acknowledged_at)
        ORDER BY f.id FOR NO KEY UPDATE SKIP LOCKED) stale
    WHERE g.id = stale.id;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION guard_failure_group() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF (NEW.id, NEW.tenant_id, NEW.release_id, NEW.step_index, NEW.fingerprint, NEW.error_code, NEW.sample_message,
        NEW.first_seen_at) IS DISTINCT FROM
        (OLD.id, OLD.tenant_id, OLD.release_id, OLD.step_index, OLD.fingerprint, OLD.error_code, OLD.sample_message,
        OLD.first_seen_at)
    THEN
        RAISE EXCEPTION 'failure group %: only what people decide about it changes', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'failure_group_immutable';
    END IF;
    IF (NEW.acknowledged_by, NEW.acknowledged_at) IS DISTINCT FROM (OLD.acknowledged_by, OLD.acknowledged_at) THEN
        IF NEW.acknowledged_at <> now() THEN
            RAISE EXCEPTION 'failure group %: it is acknowledged at the current time', OLD.id
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'failure_group_acknowledged_now';
        END IF;
        IF NEW.acknowledged_at IS NOT NULL THEN
            BEGIN
                PERFORM pg_advisory_xact_lock(7308, hashint8(NEW.tenant_id));
                NEW.acknowledged_at := clock_timestamp();
                RAISE EXCEPTION USING ERRCODE = 'TP001';
            EXCEPTION WHEN SQLSTATE 'TP001' THEN
                NULL;
            END;
        END IF;
    END IF;
    RETURN NEW;
END $$;
"""


class Migration(migrations.Migration):
    # Processes of the earlier version work with these functions too, so nothing is undone.
    dependencies = (("executions", "0024_fingerprints"), ("releases", "0012_blob_leases"))
    operations = (
        migrations.RunSQL(MAY_CLAIM, migrations.RunSQL.noop),
        migrations.RunSQL(COUNT, migrations.RunSQL.noop),
        migrations.RunSQL(FAILURES, migrations.RunSQL.noop),
    )
