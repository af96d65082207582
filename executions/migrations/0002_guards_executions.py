"""What no code path, and no person with a SQL prompt, may do to an execution and its history."""

from django.db import migrations

EXECUTIONS = """
CREATE FUNCTION guard_submission() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    -- The lock, which the foreign key takes later anyway, makes a retirement wait for this transaction, and re-reads
    -- the status if a retirement held it.
    PERFORM FROM releases_release r JOIN releases_pipeline p ON p.id = r.pipeline_id
        JOIN releases_activation a ON a.id = p.activation_id AND r.id IN (a.release_id, a.candidate_id)
        WHERE r.id = NEW.release_id AND r.status = 'REGISTERED' AND p.tenant_id = NEW.tenant_id
            AND p.pipeline_id = NEW.pipeline_id AND r.contract_version = NEW.contract_version
            AND r.release_version = NEW.release_version
        FOR KEY SHARE OF r;
    IF NOT FOUND THEN
        -- Smoke tests may name any registered release, submissions one that is still open, and resubmissions one that
        -- is or was active. A separate statement, so that others do not pay for it.
        PERFORM FROM releases_release r JOIN releases_pipeline p ON p.id = r.pipeline_id
            WHERE r.id = NEW.release_id AND r.status = 'REGISTERED' AND p.tenant_id = NEW.tenant_id
                AND p.pipeline_id = NEW.pipeline_id AND r.contract_version = NEW.contract_version
                AND r.release_version = NEW.release_version
                AND (NEW.smoke OR release_open_until(r.id) > clock_timestamp() OR release_open_until(r.id) IS NOT NULL AND EXISTS (
                    SELECT FROM executions_resubmission s WHERE s.new_execution_id = NEW.id AND s.created_at = now()))
            FOR KEY SHARE OF r;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'execution %: the pin does not name an open release of the pipeline and tenant', NEW.id
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_pin_exists';
        END IF;
    END IF;
    -- The key of a resubmission begins so: see guard_resubmitted().
    IF starts_with(NEW.execution_key, 'resubmit:') AND EXISTS (
        SELECT FROM executions_resubmission s, releases_release r, executions_hold h
        WHERE s.new_execution_id = NEW.id AND r.id = NEW.release_id AND h.ended_at IS NULL AND h.refuses_submissions
            AND (h.release_id = r.id OR h.pipeline_id = r.pipeline_id))
    THEN
        RAISE EXCEPTION 'execution %: the release or its pipeline is paused and refuses submissions', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_not_refused';
    END IF;
    IF NEW.status <> 'QUEUED' OR NEW.version <> 0 OR NEW.attempt <> 0 OR NEW.event_count <> 1 THEN
        RAISE EXCEPTION 'execution %: an execution starts QUEUED, at version 0 and attempt 0, with one event', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_starts_queued';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER execution_submission BEFORE INSERT ON executions_execution
    FOR EACH ROW EXECUTE FUNCTION guard_submission();

CREATE FUNCTION guard_execution() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    noted executions_execution;
BEGIN
    IF (NEW.tenant_id, NEW.release_id, NEW.pipeline_id, NEW.contract_version, NEW.release_version)
        IS DISTINCT FROM
        (OLD.tenant_id, OLD.release_id, OLD.pipeline_id, OLD.contract_version, OLD.release_version)
    THEN
        RAISE EXCEPTION 'execution %: the pin never changes', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_pin_immutable';
    END IF;
    IF (NEW.id, NEW.execution_key, NEW.input_digest, NEW.input_shape, NEW.result_shape,
        NEW.checkpoints, NEW.submitted_by, NEW.created_at)
        IS DISTINCT FROM
        (OLD.id, OLD.execution_key, OLD.input_digest, OLD.input_shape, OLD.result_shape,
        OLD.checkpoints, OLD.submitted_by, OLD.created_at)
        OR NEW.input IS DISTINCT FROM OLD.input
    THEN
        RAISE EXCEPTION 'execution %: what was submitted never changes', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_submission_immutable';
    END IF;
    IF NEW.status <> OLD.status AND (OLD.status || '>' || NEW.status) <> ALL (ARRAY[
        'QUEUED>RUNNING', 'QUEUED>FAILED', 'QUEUED>CANCELLED',
        'RUNNING>SUCCEEDED', 'RUNNING>WAITING_EXTERNAL', 'RUNNING>WAIT_RETRY', 'RUNNING>FAILED', 'RUNNING>DLQ',
        'RUNNING>QUEUED', 'RUNNING>CANCELLED',
        'WAIT_RETRY>RUNNING', 'WAIT_RETRY>FAILED', 'WAIT_RETRY>CANCELLED',
        'WAITING_EXTERNAL>QUEUED', 'WAITING_EXTERNAL>FAILED', 'WAITING_EXTERNAL>CANCELLED',
        'FAILED>QUEUED', 'DLQ>QUEUED'])
    THEN
        RAISE EXCEPTION 'execution %: there is no move from % to %', OLD.id, OLD.status, NEW.status
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_legal_move';
    END IF;
    IF OLD.finished_at IS NOT NULL AND NEW.status = 'QUEUED' THEN
        PERFORM FROM releases_release r WHERE r.id = NEW.release_id AND r.status <> 'RETIRED' FOR KEY SHARE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'execution %: its release is retired', OLD.id
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_of_retired_release';
        END IF;
    END IF;
    -- Retention counts from the finish, so nobody makes an execution older than it is.
    IF NEW.finished_at IS DISTINCT FROM
        (CASE WHEN NEW.status = OLD.status THEN OLD.finished_at WHEN NEW.finished_at IS NOT NULL THEN now() END)
    THEN
        RAISE EXCEPTION 'execution %: it finishes when it does, once for each end', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_finish_is_now';
    END IF;
    IF NEW.version <> OLD.version + (NEW.status <> OLD.status)::int OR NEW.attempt < OLD.attempt
        OR NEW.event_count < OLD.event_count
    THEN
        RAISE EXCEPTION 'execution %: every move counts its version up by one, and no count goes back', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_counts_up';
    END IF;
    IF NEW.status = OLD.status AND OLD.status IN ('SUCCEEDED', 'CANCELLED', 'FAILED', 'DLQ') THEN
        noted := OLD;
        noted.event_count := NEW.event_count;
        noted.held := NEW.held;
        IF NEW IS DISTINCT FROM noted THEN
            RAISE EXCEPTION 'execution %: a terminal execution never changes', OLD.id
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_terminal_immutable';
        END IF;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER execution_guard BEFORE UPDATE ON executions_execution FOR EACH ROW EXECUTE FUNCTION guard_execution();

-- An outcome or the end of an execution clears the lost lease. So one lease gets at most one outcome, also from processes
-- that do not know the column. The trigger fires only for executions that lost a lease.
CREATE FUNCTION guard_lost_lease() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NEW.lost_lease IS DISTINCT FROM OLD.lost_lease
        AND (OLD.status = 'RUNNING' AND NEW.status = 'QUEUED' AND NEW.lost_lease = OLD.lease_token) IS NOT TRUE
    THEN
        RAISE EXCEPTION 'execution %: it did not lose this lease', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    IF NEW.status NOT IN ('QUEUED', 'RUNNING') THEN
        NEW.lost_lease := NULL;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER execution_lost_lease BEFORE UPDATE ON executions_execution
    FOR EACH ROW WHEN (NEW.lost_lease IS NOT NULL) EXECUTE FUNCTION guard_lost_lease();

-- These fire only if a statement sets the column, so that moves do not pay for them.
CREATE TRIGGER execution_tags_immutable BEFORE UPDATE OF tags ON executions_execution
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER execution_smoke_immutable BEFORE UPDATE OF smoke ON executions_execution
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER execution_traceparent_immutable BEFORE UPDATE OF traceparent ON executions_execution
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE FUNCTION guard_removal() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    term int := (SELECT CASE WHEN OLD.status IN ('FAILED', 'DLQ') THEN t.failed_retention_days ELSE t.retention_days END
        FROM tenancy_tenant t WHERE t.id = OLD.tenant_id);
BEGIN
    IF OLD.finished_at IS NULL OR term IS NULL OR OLD.finished_at > now() - make_interval(days => term) THEN
        RAISE EXCEPTION 'execution %: only what has been over for longer than its tenant keeps it is removed', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER execution_not_deleted BEFORE DELETE ON executions_execution
    FOR EACH ROW EXECUTE FUNCTION guard_removal();
CREATE TRIGGER execution_not_truncated BEFORE TRUNCATE ON executions_execution
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE FUNCTION guard_retirement() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM executions_execution e
        WHERE e.release_id = NEW.id AND e.status NOT IN ('SUCCEEDED', 'FAILED', 'DLQ', 'CANCELLED'))
    THEN
        RAISE EXCEPTION 'release %: it has open executions, so it cannot be retired', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER release_retired_without_executions AFTER UPDATE OF status ON releases_release
    FOR EACH ROW WHEN (NEW.status = 'RETIRED') EXECUTE FUNCTION guard_retirement();
"""
HISTORY = """
-- A history is removed with its execution or not at all: after it, and in its transaction, whose foreign keys are
-- checked at the end.
CREATE FUNCTION guard_history() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' AND NOT EXISTS (SELECT FROM executions_execution WHERE id = OLD.execution_id) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION '% of % is refused: history goes with its execution alone', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
END $$;
CREATE TRIGGER event_append_only BEFORE UPDATE OR DELETE ON executions_executionevent
    FOR EACH ROW EXECUTE FUNCTION guard_history();
CREATE TRIGGER event_not_truncated BEFORE TRUNCATE ON executions_executionevent
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- An execution's event_count and its events change in one statement. Whole statements are checked, so that a group
-- of outcomes costs one query. Scalar subqueries look each row up by its key; a join might read a whole table.
CREATE FUNCTION guard_event_count() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM changed c WHERE (SELECT v.id FROM executions_executionevent v
        WHERE v.execution_id = c.id AND v.sequence = c.event_count) IS NULL)
    THEN
        RAISE EXCEPTION 'executions are written in one statement with the events that they count'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_counts_its_events';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER execution_submitted_with_event AFTER INSERT ON executions_execution
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION guard_event_count();
CREATE TRIGGER execution_changed_with_event AFTER UPDATE ON executions_execution
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION guard_event_count();

CREATE FUNCTION guard_event_sequence() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF EXISTS (
        SELECT FROM (SELECT execution_id, min(sequence) AS first, max(sequence) AS last, count(*) AS events,
                min(status) AS status, max(status) AS other_status
            FROM added GROUP BY execution_id) a
        WHERE (a.last, a.status, a.other_status) <> (
                SELECT e.event_count, e.status, e.status FROM executions_execution e WHERE e.id = a.execution_id)
            OR a.last - a.first + 1 <> a.events
            OR (a.first > 1 AND (SELECT v.id FROM executions_executionevent v
                WHERE v.execution_id = a.execution_id AND v.sequence = a.first - 1) IS NULL))
    THEN
        RAISE EXCEPTION 'events must follow the newest one of their execution, which counts them in the same statement and has their status'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER event_in_sequence AFTER INSERT ON executions_executionevent
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard_event_sequence();
"""
WIRE_FORMS = """
CREATE FUNCTION guard_wire_input() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM executions_execution WHERE id = NEW.execution_id AND created_at = now()) THEN
        RAISE EXCEPTION 'execution %: its input must be written in the transaction that accepts it', NEW.execution_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER wire_form_input_with_submission AFTER INSERT ON executions_wireform
    FOR EACH ROW WHEN (NEW.input IS NOT NULL) EXECUTE FUNCTION guard_wire_input();

CREATE FUNCTION guard_wire_form() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' AND NOT EXISTS (SELECT FROM executions_execution WHERE id = OLD.execution_id) THEN
        RETURN OLD;
    END IF;
    IF TG_OP = 'DELETE' OR NEW.execution_id <> OLD.execution_id OR NEW.input IS DISTINCT FROM OLD.input
        OR OLD.result IS NOT NULL
    THEN
        RAISE EXCEPTION 'execution %: what travelled never changes', OLD.execution_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'wire_form_written_once';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER wire_form_guard BEFORE UPDATE OR DELETE ON executions_wireform
    FOR EACH ROW EXECUTE FUNCTION guard_wire_form();

CREATE FUNCTION guard_wire_result() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM executions_execution
        WHERE id = NEW.execution_id AND status = 'SUCCEEDED' AND finished_at = now())
    THEN
        RAISE EXCEPTION 'execution %: its outputs are written in the transaction in which it succeeds', NEW.execution_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER wire_form_result_with_success BEFORE INSERT OR UPDATE ON executions_wireform
    FOR EACH ROW WHEN (NEW.result IS NOT NULL) EXECUTE FUNCTION guard_wire_result();
"""
ADMISSION_RECEIPTS = """
-- The receipt and its execution are written in one transaction. The key is that of wire.messages.admissions: no other
-- submission can have it, and it is unique, so one of several requests with a client key is admitted.
CREATE FUNCTION guard_admission_receipt() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM executions_execution e
        WHERE e.id = NEW.execution_id AND e.created_at = now() AND e.release_id = NEW.release_id
            AND e.tenant_id = NEW.tenant_id AND e.pipeline_id = NEW.pipeline_id
            AND e.execution_key = concat('execution', chr(160), 'admission:', NEW.client_key))
    THEN
        RAISE EXCEPTION 'admission receipt %: it is written with its execution, which has its key', NEW.execution_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER admission_receipt_of_execution AFTER INSERT ON executions_admissionreceipt
    FOR EACH ROW EXECUTE FUNCTION guard_admission_receipt();
CREATE TRIGGER admission_receipt_append_only BEFORE UPDATE OR DELETE ON executions_admissionreceipt
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER admission_receipt_not_truncated BEFORE TRUNCATE ON executions_admissionreceipt
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
SMOKE_TESTS = """
ALTER TABLE executions_smoketest ADD CONSTRAINT smoke_test_expects_one_result CHECK (expected_result IS NULL OR (
    jsonb_typeof(expected_result) = 'array' AND expected_result -> 0 IS NOT NULL AND expected_result -> 1 IS NULL));

-- The execution and its smoke test are written in one transaction.
CREATE FUNCTION guard_smoke_test() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM executions_execution e
        WHERE e.id = NEW.execution_id AND e.smoke AND e.release_id = NEW.release_id AND e.created_at = now())
    THEN
        RAISE EXCEPTION 'smoke test %: it is written with its execution, which runs the release', NEW.execution_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER smoke_test_of_execution AFTER INSERT ON executions_smoketest
    FOR EACH ROW EXECUTE FUNCTION guard_smoke_test();

CREATE FUNCTION guard_smoke() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM executions_smoketest s WHERE s.execution_id = NEW.id) THEN
        RAISE EXCEPTION 'execution %: its smoke test must be written in the same transaction', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER execution_smoke_has_test AFTER INSERT ON executions_execution
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.smoke) EXECUTE FUNCTION guard_smoke();
CREATE TRIGGER smoke_test_starts AFTER INSERT ON executions_smoketest
    FOR EACH ROW WHEN ((NEW.created_at = now()) IS NOT TRUE) EXECUTE FUNCTION refuse_insert();
CREATE TRIGGER smoke_test_append_only BEFORE UPDATE OR DELETE ON executions_smoketest
    FOR EACH ROW EXECUTE FUNCTION guard_history();
CREATE TRIGGER smoke_test_not_truncated BEFORE TRUNCATE ON executions_smoketest
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0001_tables"), ("releases", "0004_guards_requests"))
    operations = (
        migrations.RunSQL(EXECUTIONS),
        migrations.RunSQL(HISTORY),
        migrations.RunSQL(WIRE_FORMS),
        migrations.RunSQL(ADMISSION_RECEIPTS),
        migrations.RunSQL(SMOKE_TESTS),
    )
