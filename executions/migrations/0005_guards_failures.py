"""Dead letters, the groups of failures, and counts of finished executions."""

from django.db import migrations

DEAD_LETTERS = """
CREATE FUNCTION guard_dead_letter() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM executions_execution e
        WHERE e.id = NEW.execution_id AND e.tenant_id = NEW.tenant_id AND e.version = NEW.execution_version
            AND e.status = NEW.terminal_status AND e.status IN ('FAILED', 'DLQ') AND e.finished_at = now()
            AND e.attempt = NEW.retries_observed AND e.current_step_index = NEW.step_index
            AND NEW.transition_key = concat(e.id, ':', e.current_step_index, ':', e.attempt)
            AND (e.error_code, e.error_message) = (NEW.error_code, NEW.error_message))
    THEN
        RAISE EXCEPTION 'execution %: a dead letter must be written when it fails, and match its row', NEW.execution_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER dead_letter_of_failure AFTER INSERT ON executions_deadletter
    FOR EACH ROW EXECUTE FUNCTION guard_dead_letter();
CREATE TRIGGER deadletter_append_only BEFORE UPDATE OR DELETE ON executions_deadletter
    FOR EACH ROW EXECUTE FUNCTION guard_history();
CREATE TRIGGER deadletter_not_truncated BEFORE TRUNCATE ON executions_deadletter
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
FAILURE_GROUPS = """
CREATE FUNCTION failure_group_id(release_id bigint, step_index int, fingerprint text) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT left(encode(sha256(convert_to(concat_ws(':', release_id, step_index, fingerprint), 'UTF8')), 'hex'), 32)::uuid
$$;
ALTER TABLE executions_failuregroup ADD CONSTRAINT failure_group_computed_id
    CHECK (id = failure_group_id(release_id, step_index, fingerprint));

-- The step that failed, as the worker reported it in the event of the failure; null if it reported none.
CREATE FUNCTION failed_step(execution uuid, terminal_status text, failed_at timestamptz) RETURNS int
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT CASE WHEN v.data ->> 'failedStepIndex' ~ '^[0-9]{1,9}$' THEN (v.data ->> 'failedStepIndex')::int END
    FROM executions_executionevent v
    WHERE v.execution_id = execution AND v.status = terminal_status AND v.at = failed_at
        AND v.kind IN ('FAILED', 'RETRIES_EXHAUSTED')
    ORDER BY v.sequence DESC LIMIT 1
$$;

-- A failure takes the lock of its tenant in shared mode, and then its time. An acknowledgement takes the same lock
-- exclusively for a moment, and its time meanwhile. So it has seen each failure with an earlier time, and each other one
-- has a later time, in any order of both transactions. Neither waits for the other's commit, but for an
-- acknowledgement of failures that are being written. The rollback of the inner block ends the lock.
-- 7308 is the class of these locks.
CREATE FUNCTION set_failure_group() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    NEW.failed_step_index := coalesce(failed_step(NEW.execution_id, NEW.terminal_status, now()), NEW.step_index);
    NEW.group_id := (SELECT failure_group_id(e.release_id, NEW.failed_step_index,
            failure_fingerprint(NEW.error_code, NEW.error_message))
        FROM executions_execution e WHERE e.id = NEW.execution_id AND NOT e.smoke);
    PERFORM pg_advisory_xact_lock_shared(7308, hashint8(NEW.tenant_id));
    NEW.created_at := clock_timestamp();
    RETURN NEW;
END $$;
CREATE TRIGGER dead_letter_grouped BEFORE INSERT ON executions_deadletter
    FOR EACH ROW EXECUTE FUNCTION set_failure_group();

-- Failures never wait for each other's locks once their group exists: the row of the group is locked at most once a
-- minute, or for the first failure after an acknowledgement, and a locked row is skipped. The function runs with the
-- owner's rights, because the application may only change what people decide. It looks for the group before it inserts:
-- ON CONFLICT alone would wait for a transaction that changes the row.
CREATE FUNCTION add_failure_groups() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
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
CREATE TRIGGER dead_letter_adds_group AFTER INSERT ON executions_deadletter REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION add_failure_groups();
CREATE TRIGGER failure_group_starts AFTER INSERT ON executions_failuregroup
    FOR EACH ROW WHEN ((NEW.first_seen_at = now() AND NEW.last_seen_at = now() AND NEW.acknowledged_at IS NULL
        AND NEW.assignee = '' AND NEW.note = '') IS NOT TRUE) EXECUTE FUNCTION refuse_insert();

CREATE FUNCTION guard_failure_group() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
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
CREATE TRIGGER failure_group_guard BEFORE UPDATE ON executions_failuregroup
    FOR EACH ROW EXECUTE FUNCTION guard_failure_group();

-- Only the trigger of dead letters sets the times of a group.
CREATE TRIGGER failure_group_seen_by_trigger BEFORE UPDATE OF last_seen_at ON executions_failuregroup
    FOR EACH ROW WHEN (pg_trigger_depth() < 1) EXECUTE FUNCTION refuse_change();
CREATE TRIGGER failure_group_not_deleted BEFORE DELETE ON executions_failuregroup
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER failure_group_not_truncated BEFORE TRUNCATE ON executions_failuregroup
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
FINISHED_COUNTS = """
-- The extracted second has a fraction.
ALTER TABLE executions_finishedcount
    ADD CONSTRAINT finished_count_of_a_minute CHECK (extract(second FROM minute) = 0);
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0004_guards_awaits"),)
    operations = (
        migrations.RunSQL(DEAD_LETTERS),
        migrations.RunSQL(FAILURE_GROUPS),
        migrations.RunSQL(FINISHED_COUNTS),
    )
