"""What is paused, which worker may run which release, what a claim counts, and the history of workers and their keys."""

from django.db import migrations

HOLDS = """
-- The releases that are paused, each by its own hold or by that of its pipeline.
CREATE VIEW executions_heldrelease AS
SELECT release_id, started_at FROM executions_hold WHERE ended_at IS NULL AND release_id IS NOT NULL
UNION ALL
SELECT r.id, h.started_at FROM executions_hold h JOIN releases_release r ON r.pipeline_id = h.pipeline_id
WHERE h.ended_at IS NULL AND h.pipeline_id IS NOT NULL;

-- The time by which the deadlines of an execution are judged. It stands still while any hold of it is open.
CREATE FUNCTION execution_clock(execution uuid) RETURNS timestamptz LANGUAGE sql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT coalesce((
        SELECT min(h.started_at) FROM executions_execution e
        JOIN releases_release r ON r.id = e.release_id
        JOIN executions_hold h ON h.ended_at IS NULL
            AND (h.execution_id = e.id OR h.release_id = r.id OR h.pipeline_id = r.pipeline_id)
        WHERE e.id = execution), clock_timestamp())
$$;

-- The times of a hold are those of the clock, not of the transaction: a transaction that waited for the lock of the
-- pipeline began before the hold that preceded this one ended.
CREATE FUNCTION guard_hold() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.ended_at IS NOT NULL OR NEW.tenant_id IS DISTINCT FROM coalesce(
            (SELECT e.tenant_id FROM executions_execution e WHERE e.id = NEW.execution_id),
            (SELECT p.tenant_id FROM releases_release r JOIN releases_pipeline p ON p.id = r.pipeline_id
                WHERE r.id = NEW.release_id),
            (SELECT p.tenant_id FROM releases_pipeline p WHERE p.id = NEW.pipeline_id))
        THEN
            RAISE EXCEPTION 'a hold starts open, and its target belongs to its tenant'
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'hold_starts_open';
        END IF;
        NEW.started_at := clock_timestamp();
        RETURN NEW;
    END IF;
    IF TG_OP = 'DELETE' AND OLD.execution_id IS NOT NULL
        AND NOT EXISTS (SELECT FROM executions_execution WHERE id = OLD.execution_id)
    THEN
        RETURN OLD;
    END IF;
    IF TG_OP = 'DELETE' OR OLD.ended_at IS NOT NULL OR NEW.ended_at IS NULL
        OR (NEW.id, NEW.tenant_id, NEW.execution_id, NEW.release_id, NEW.pipeline_id, NEW.reason,
            NEW.refuses_submissions, NEW.started_by, NEW.started_at)
        IS DISTINCT FROM
        (OLD.id, OLD.tenant_id, OLD.execution_id, OLD.release_id, OLD.pipeline_id, OLD.reason,
            OLD.refuses_submissions, OLD.started_by, OLD.started_at)
    THEN
        RAISE EXCEPTION 'hold %: it ends once, and never changes otherwise', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'hold_ends_once';
    END IF;
    NEW.ended_at := clock_timestamp();
    RETURN NEW;
END $$;
CREATE TRIGGER hold_guard BEFORE INSERT OR UPDATE OR DELETE ON executions_hold
    FOR EACH ROW EXECUTE FUNCTION guard_hold();
CREATE TRIGGER hold_not_truncated BEFORE TRUNCATE ON executions_hold
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE FUNCTION guard_held() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    execution uuid := CASE TG_TABLE_NAME WHEN 'executions_hold' THEN to_jsonb(NEW) ->> 'execution_id'
        ELSE to_jsonb(NEW) ->> 'id' END;
BEGIN
    IF (SELECT e.held FROM executions_execution e WHERE e.id = execution) IS DISTINCT FROM
        EXISTS (SELECT FROM executions_hold h WHERE h.execution_id = execution AND h.ended_at IS NULL)
    THEN
        RAISE EXCEPTION 'execution %: it is held exactly while it has an open hold', execution
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER hold_holds_execution AFTER INSERT OR UPDATE ON executions_hold
    FOR EACH ROW WHEN (NEW.execution_id IS NOT NULL) EXECUTE FUNCTION guard_held();
CREATE TRIGGER execution_held_by_hold AFTER UPDATE OF held ON executions_execution
    FOR EACH ROW EXECUTE FUNCTION guard_held();

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
"""
ELIGIBILITY = """
-- The time by which workers become silent. It stops while no message can arrive.
CREATE FUNCTION worker_clock() RETURNS timestamptz LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT coalesce((SELECT arrived_at FROM executions_messagepath WHERE expected_by < now()), now())
$$;

-- One row for each worker, with the release that it names or null. This view contains every rule of eligibility.
-- A worker that names an artifact must name one of any kind that the release pins (wire protocol D.8).
-- A worker that reports that its code comes from a folder gets no work if the pipeline's policy refuses such workers.
-- A worker that does not report where its code comes from is unaffected: REST workers never do.
-- A REST worker may be silent: it sends no heartbeats itself, and accepted executions are still sent to it.
-- A Celery worker is silent only if its heartbeats could have arrived: see `worker_clock`.
-- A verdict of a REST worker is valid for 60 seconds. Time in which no message reaches the control workers does not count
-- (ADR 24). If the worker did not answer the last check, the verdict is valid until the next check.
-- `present` is cheap to evaluate, so that a claim skips former workers before it looks up releases.
-- A statement calls `worker_clock` once, because a sub-select that refers to no row is evaluated once. Each call takes 0.1 ms.
CREATE VIEW executions_workereligibility AS
SELECT w.id AS worker_id, w.tenant_id, r.id AS release_id, w.protocol, w.transition_seconds,
    greatest(w.capacity - w.abandoned, 0) AS capacity,
    CASE w.protocol WHEN 'rest' THEN left('rest:' || w.id || ':' || w.worker_id, 200)
        ELSE left('worker:' || w.worker_id, 200) END AS lease_owner, w.worker_id AS worker_name,
    fact.fits AS artifact_fits,
    w.stopped_at IS NULL AND NOT (fact.silent AND w.protocol = 'celery') AS present,
    CASE WHEN w.stopped_at IS NOT NULL THEN 'UNAVAILABLE' WHEN fact.draining THEN 'DRAINING'
        WHEN fact.silent THEN 'STALE' ELSE 'HEALTHY' END AS state,
    rule.reason,
    rule.reason IS NULL AND NOT fact.silent AS admits,
    CASE WHEN w.protocol = 'rest' AND (w.unanswered_checks > 0
        OR w.capability_checked_at > (SELECT worker_clock()) - interval '60 seconds') THEN w.capability_error = '' END AS verdict
FROM executions_worker w
LEFT JOIN (releases_pipeline p JOIN releases_release r ON r.pipeline_id = p.id AND r.status <> 'REJECTED')
    ON p.tenant_id = w.tenant_id AND p.pipeline_id = w.pipeline_id
    AND r.contract_version = w.contract_version AND r.release_version = w.release_version
CROSS JOIN LATERAL (
    SELECT coalesce(w.alive_until < CASE w.protocol WHEN 'celery' THEN (SELECT worker_clock()) ELSE now() END, false) AS silent,
        w.draining_since IS NOT NULL OR w.drained_by_operator_at IS NOT NULL AS draining,
        CASE WHEN w.artifact_digest <> '' OR w.artifact_id <> '' THEN EXISTS (
            SELECT FROM releases_artifact a WHERE a.release_id = r.id
                AND w.artifact_digest IN ('', a.digest) AND w.artifact_id IN ('', a.artifact_id)) END AS fits
) fact
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN w.protocol NOT IN ('celery', 'rest') THEN 'PROTOCOL_NOT_SUPPORTED'
        WHEN w.stopped_at IS NOT NULL THEN 'STOPPED'
        WHEN r.id IS NULL THEN 'RELEASE_UNKNOWN'
        WHEN NOT fact.fits THEN 'OTHER_ARTIFACT'
        WHEN w.code = 'source' AND p.unverified_workers = 'refuse' THEN 'UNVERIFIED_CODE'
        WHEN w.drained_by_operator_at IS NOT NULL THEN 'DRAINED_BY_OPERATOR'
        WHEN w.draining_since IS NOT NULL THEN 'DRAINING'
        WHEN fact.silent AND w.protocol = 'celery' THEN 'SILENT'
        WHEN w.blocked_reason <> '' THEN w.blocked_reason
        WHEN w.abandoned >= w.capacity THEN 'NO_FREE_THREAD'
    END AS reason
) rule;
"""
CLAIMS = """
-- Every claim of due work takes the lock of the pipeline in shared mode, and then looks for holds: a claim of executions,
-- a timer, a deadline and a webhook. A pause takes it exclusively after it has written its hold. So it waits for claims
-- that began earlier, and every later claim sees the hold. The function is volatile, so that it sees what was committed
-- before it got the lock. It never waits: it returns null while a pause is being made.
-- 7307 is the class of these locks. A pipeline has one, whatever the number of its releases.
CREATE FUNCTION may_claim(release bigint) RETURNS boolean LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF pg_try_advisory_xact_lock_shared(7307, hashint8((SELECT r.pipeline_id FROM releases_release r WHERE r.id = release)))
    THEN
        RETURN NOT EXISTS (SELECT FROM executions_heldrelease h WHERE h.release_id = release);
    END IF;
    RETURN NULL;
END $$;

-- Counts the RUNNING executions of a release by lease owner, after it has locked the release against other claims.
-- A statement sees the executions as they were when it began, so its own count may miss executions that another claim has
-- just leased. This volatile function counts after it has the lock, and sees everything committed by then.
-- Returns NULL while another claim has the lock or a pause is being made, and JSON null if the release is paused.
-- A REST worker that was registered for another release may still run executions of the earlier one. These take its
-- places too. They are found by the releases of the pipeline, so that no index on `lease_owner` is needed.
-- 7306 is the class of these locks. Locks of two keys never conflict with locks of one key, as in `releases.artifacts.blob_lock`.
CREATE FUNCTION count_running_for_claim(release bigint, rest_owners text[]) RETURNS jsonb LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, public, pg_temp AS $$
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
END $$;
"""
WORKERS = """
-- A worker may be removed a day after it stopped, unless an operator drains it: that drain ends only by a request.
CREATE FUNCTION guard_worker_removal() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF OLD.stopped_at < now() - interval '1 day' AND OLD.drained_by_operator_at IS NULL THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'worker %: it is kept for a day after it stopped, and while an operator drains it', OLD.id
        USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
END $$;
CREATE TRIGGER worker_kept BEFORE DELETE ON executions_worker FOR EACH ROW EXECUTE FUNCTION guard_worker_removal();
CREATE TRIGGER worker_not_truncated BEFORE TRUNCATE ON executions_worker
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE FUNCTION guard_worker_event() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM executions_worker w WHERE w.id = NEW.worker_id AND w.noted_state = NEW.state) THEN
        RAISE EXCEPTION 'worker %: its newest event must have the state in noted_state', NEW.worker_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER worker_event_of_state AFTER INSERT ON executions_workerevent
    FOR EACH ROW EXECUTE FUNCTION guard_worker_event();
CREATE TRIGGER worker_event_starts AFTER INSERT ON executions_workerevent
    FOR EACH ROW WHEN ((NEW.at = now()) IS NOT TRUE) EXECUTE FUNCTION refuse_insert();

-- Events are removed after their worker, in its transaction, whose foreign keys are checked at the end.
CREATE FUNCTION guard_worker_history() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' AND NOT EXISTS (SELECT FROM executions_worker w WHERE w.id = OLD.worker_id) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'worker event %: it is append-only', OLD.id
        USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
END $$;
CREATE TRIGGER workerevent_append_only BEFORE UPDATE OR DELETE ON executions_workerevent
    FOR EACH ROW EXECUTE FUNCTION guard_worker_history();
CREATE TRIGGER workerevent_not_truncated BEFORE TRUNCATE ON executions_workerevent
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
WORKER_KEYS = """
-- Each change of keys locks the tenant's row, so the newest existing change is the preceding one.
CREATE FUNCTION guard_worker_key_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    before executions_workerkeychange;
BEGIN
    SELECT * INTO before FROM executions_workerkeychange WHERE tenant_id = NEW.tenant_id ORDER BY number DESC LIMIT 1;
    IF NEW.number <> coalesce(before.number, 0) + 1 OR NEW.newest < coalesce(before.newest, 1)
        OR NEW.oldest < coalesce(before.oldest, 1) THEN
        RAISE EXCEPTION 'worker keys of tenant %: changes have no gaps in numbering, and a revoked key stays revoked',
            NEW.tenant_id USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    NEW.at := now();
    RETURN NEW;
END $$;
CREATE TRIGGER worker_key_change_follows BEFORE INSERT ON executions_workerkeychange
    FOR EACH ROW EXECUTE FUNCTION guard_worker_key_change();
CREATE TRIGGER worker_key_change_append_only BEFORE UPDATE OR DELETE ON executions_workerkeychange
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER worker_key_change_not_truncated BEFORE TRUNCATE ON executions_workerkeychange
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0002_guards_executions"),)
    operations = (
        migrations.RunSQL(HOLDS),
        migrations.RunSQL(ELIGIBILITY),
        migrations.RunSQL(CLAIMS),
        migrations.RunSQL(WORKERS),
        migrations.RunSQL(WORKER_KEYS),
    )
