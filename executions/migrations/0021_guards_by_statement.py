"""The guards of executions look at less for each row.

What never changes is compared only if a statement sets it, which no statement of the product does. The guard of new
executions looks up and locks the release once for all rows with the same pin; it did so for each row. The guard of
events needs no groups: each new event follows one that exists, and is not beyond what its execution counts. Each
execution has the event that it counts (`guard_event_count`), and no sequence occurs twice, so no gap is left.

They refuse what they refused before, under the same names.
"""

from django.db import migrations

IMMUTABLE = """
CREATE TRIGGER execution_pin_immutable
    BEFORE UPDATE OF tenant_id, release_id, pipeline_id, contract_version, release_version ON executions_execution
    FOR EACH ROW WHEN ((NEW.tenant_id, NEW.release_id, NEW.pipeline_id, NEW.contract_version, NEW.release_version)
        IS DISTINCT FROM (OLD.tenant_id, OLD.release_id, OLD.pipeline_id, OLD.contract_version, OLD.release_version))
    EXECUTE FUNCTION refuse_change();
CREATE TRIGGER execution_submission_immutable
    BEFORE UPDATE OF id, execution_key, input_digest, input, input_shape, result_shape, checkpoints, submitted_by,
        created_at ON executions_execution
    FOR EACH ROW WHEN ((NEW.id, NEW.execution_key, NEW.input_digest, NEW.input, NEW.input_shape, NEW.result_shape,
            NEW.checkpoints, NEW.submitted_by, NEW.created_at)
        IS DISTINCT FROM (OLD.id, OLD.execution_key, OLD.input_digest, OLD.input, OLD.input_shape, OLD.result_shape,
            OLD.checkpoints, OLD.submitted_by, OLD.created_at))
    EXECUTE FUNCTION refuse_change();
"""
MOVES = """
CREATE OR REPLACE FUNCTION guard_execution() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    noted executions_execution;
BEGIN
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
"""
EVENTS = """
CREATE OR REPLACE FUNCTION guard_event_sequence() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        PERFORM FROM executions_execution e WHERE e.id = ANY (ARRAY(SELECT execution_id FROM added)) FOR KEY SHARE;
    END IF;
    IF EXISTS (SELECT FROM added a
        WHERE (SELECT a.sequence BETWEEN 1 AND e.event_count AND a.status = e.status
                FROM executions_execution e WHERE e.id = a.execution_id) IS NOT TRUE
            OR a.sequence > 1 AND (SELECT v.sequence FROM executions_executionevent v
                WHERE v.execution_id = a.execution_id AND v.sequence = a.sequence - 1) IS NULL)
    THEN
        RAISE EXCEPTION 'events must follow the newest one of their execution, which counts them in the same statement and has their status'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
"""
SUBMISSIONS = """
CREATE OR REPLACE FUNCTION guard_submission() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
DECLARE
    added_row executions_execution;
BEGIN
    -- The lock makes a retirement wait for this transaction, and re-reads the status if a retirement held it. Each pin and
    -- each event is looked up by its keys; a join might read a whole table. Submissions to the active release pass. If
    -- there is another execution, all of the statement are checked one by one, so that submissions do not pay for it.
    PERFORM FROM (
            SELECT n.release_id, n.tenant_id, n.pipeline_id, n.contract_version, n.release_version, bool_or(
                starts_with(n.execution_key, 'resubmit:')
                OR n.status <> 'QUEUED' OR n.version <> 0 OR n.attempt <> 0 OR n.event_count <> 1
                OR (SELECT v.sequence FROM executions_executionevent v WHERE v.execution_id = n.id AND v.sequence = 1)
                    IS NULL) AS is_checked
            FROM added n GROUP BY 1, 2, 3, 4, 5) n
        LEFT JOIN LATERAL (
            SELECT r.id FROM releases_release r JOIN releases_pipeline p ON p.id = r.pipeline_id
            JOIN releases_activation a ON a.id = p.activation_id AND r.id IN (a.release_id, a.candidate_id)
            WHERE r.id = n.release_id AND r.status = 'REGISTERED' AND p.tenant_id = n.tenant_id
                AND p.pipeline_id = n.pipeline_id AND r.contract_version = n.contract_version
                AND r.release_version = n.release_version
            FOR KEY SHARE OF r) pin ON true
        WHERE pin.id IS NULL OR n.is_checked;
    IF FOUND THEN
        FOR added_row IN SELECT * FROM added LOOP
            PERFORM check_new_execution(added_row);
        END LOOP;
    END IF;
    RETURN NULL;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0020_present_workers"),)
    operations = (
        migrations.RunSQL(IMMUTABLE),
        migrations.RunSQL(MOVES),
        migrations.RunSQL(EVENTS),
        migrations.RunSQL(SUBMISSIONS),
    )
