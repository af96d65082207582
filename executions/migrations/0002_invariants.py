"""What no code path, and no hand at a SQL prompt, may do to an execution or its history."""

from django.db import migrations

FORWARD = """
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
CREATE TRIGGER execution_not_deleted BEFORE DELETE ON executions_execution
    FOR EACH ROW EXECUTE FUNCTION guard_removal();
CREATE TRIGGER execution_not_truncated BEFORE TRUNCATE ON executions_execution
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER deadletter_append_only BEFORE UPDATE OR DELETE ON executions_deadletter
    FOR EACH ROW EXECUTE FUNCTION guard_history();
CREATE TRIGGER deadletter_not_truncated BEFORE TRUNCATE ON executions_deadletter
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER workerevent_append_only BEFORE UPDATE OR DELETE ON executions_workerevent
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER workerevent_not_truncated BEFORE TRUNCATE ON executions_workerevent
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER campaignevent_append_only BEFORE UPDATE OR DELETE ON executions_campaignevent
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER campaignevent_not_truncated BEFORE TRUNCATE ON executions_campaignevent
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

ALTER TABLE executions_interaction ADD CONSTRAINT interaction_of_its_unit
    FOREIGN KEY (unit_id, execution_id, tenant_id) REFERENCES executions_awaitunit (id, execution_id, tenant_id)
    DEFERRABLE INITIALLY DEFERRED;

CREATE FUNCTION guard_interaction() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' AND NOT EXISTS (SELECT FROM executions_execution WHERE id = OLD.execution_id) THEN
        RETURN OLD;
    END IF;
    IF TG_OP = 'DELETE' OR OLD.status NOT IN ('WAITING', 'DISPATCHING', 'DISPATCHED') THEN
        RAISE EXCEPTION 'interaction %: what is over never changes', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'interaction_over_is_over';
    END IF;
    IF (NEW.id, NEW.tenant_id, NEW.unit_id, NEW.execution_id, NEW.step_id, NEW.step_index, NEW.item_index,
        NEW.correlation_id, NEW.worker_name, NEW.request, NEW.output_type, NEW.created_at)
        IS DISTINCT FROM
        (OLD.id, OLD.tenant_id, OLD.unit_id, OLD.execution_id, OLD.step_id, OLD.step_index, OLD.item_index,
        OLD.correlation_id, OLD.worker_name, OLD.request, OLD.output_type, OLD.created_at)
        OR (NEW.transport, NEW.transport_metadata, NEW.assignee, NEW."group")
        IS DISTINCT FROM (OLD.transport, OLD.transport_metadata, OLD.assignee, OLD."group")
    THEN
        RAISE EXCEPTION 'interaction %: what was asked never changes', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'interaction_request_immutable';
    END IF;
    IF NEW.first_deadline IS DISTINCT FROM OLD.first_deadline
        AND (OLD.first_deadline IS NOT NULL OR NEW.first_deadline <> OLD.deadline OR NEW.deadline <= OLD.deadline)
            IS NOT FALSE
    THEN
        RAISE EXCEPTION 'interaction %: its first deadline is kept when a pause moves it, and never changes', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'interaction_first_deadline';
    END IF;
    IF NEW.version < OLD.version OR NEW.dispatch_attempts < OLD.dispatch_attempts THEN
        RAISE EXCEPTION 'interaction %: no count goes back', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'interaction_counts_up';
    END IF;
    IF NEW.completed_at < now() OR NEW.completed_at > clock_timestamp() THEN
        RAISE EXCEPTION 'interaction %: completed_at must be the current time', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'interaction_answered_now';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER interaction_guard BEFORE UPDATE OR DELETE ON executions_interaction
    FOR EACH ROW EXECUTE FUNCTION guard_interaction();

CREATE FUNCTION guard_await_unit() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' AND NOT EXISTS (SELECT FROM executions_execution WHERE id = OLD.execution_id) THEN
        RETURN OLD;
    END IF;
    IF TG_OP = 'DELETE' OR OLD.status <> 'WAITING_EXTERNAL' THEN
        RAISE EXCEPTION 'await unit %: what is over never changes', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'await_unit_over_is_over';
    END IF;
    IF (NEW.id, NEW.tenant_id, NEW.execution_id, NEW.step_id, NEW.step_index, NEW.itemized, NEW.gives_many,
        NEW.expected_items, NEW.worker_name, NEW.created_at)
        IS DISTINCT FROM
        (OLD.id, OLD.tenant_id, OLD.execution_id, OLD.step_id, OLD.step_index, OLD.itemized, OLD.gives_many,
        OLD.expected_items, OLD.worker_name, OLD.created_at)
    THEN
        RAISE EXCEPTION 'await unit %: only its status changes', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'await_unit_immutable';
    END IF;
    -- The answers are counted only when the unit completes, because counting them at each answer is too slow.
    IF NEW.answered_items < OLD.answered_items OR (NEW.status = 'COMPLETED' AND NEW.expected_items <>
        (SELECT count(*) FROM executions_interaction i WHERE i.unit_id = NEW.id AND i.status = 'COMPLETED'))
    THEN
        RAISE EXCEPTION 'await unit %: answered_items must not decrease, and must be complete when the unit is', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'await_unit_counts_answers';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER await_unit_guard BEFORE UPDATE OR DELETE ON executions_awaitunit
    FOR EACH ROW EXECUTE FUNCTION guard_await_unit();

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

CREATE FUNCTION guard_campaign() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF OLD.status IN ('COMPLETED', 'CANCELLED') THEN
        RAISE EXCEPTION 'campaign %: a finished campaign never changes', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'campaign_over_is_over';
    END IF;
    IF (NEW.id, NEW.tenant_id, NEW.kind, NEW.target_release_version, NEW.filters, NEW.allow_failed, NEW.revoked_releases,
        NEW.reason, NEW.rate_per_minute, NEW.created_by, NEW.created_at)
        IS DISTINCT FROM
        (OLD.id, OLD.tenant_id, OLD.kind, OLD.target_release_version, OLD.filters, OLD.allow_failed, OLD.revoked_releases,
        OLD.reason, OLD.rate_per_minute, OLD.created_by, OLD.created_at)
    THEN
        RAISE EXCEPTION 'campaign %: what was ordered never changes', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'campaign_immutable';
    END IF;
    IF NEW.finished_at <> now() THEN
        RAISE EXCEPTION 'campaign %: finished_at must be the current time', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'campaign_finish_is_now';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER campaign_guard BEFORE UPDATE ON executions_campaign FOR EACH ROW EXECUTE FUNCTION guard_campaign();
CREATE TRIGGER campaign_not_deleted BEFORE DELETE ON executions_campaign
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER campaign_not_truncated BEFORE TRUNCATE ON executions_campaign
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE FUNCTION guard_campaign_item() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF OLD.outcome <> 'PENDING' OR (NEW.id, NEW.campaign_id, NEW.execution_id, NEW.expected_version)
        IS DISTINCT FROM (OLD.id, OLD.campaign_id, OLD.execution_id, OLD.expected_version)
    THEN
        RAISE EXCEPTION 'campaign item %: it gets one outcome and never changes otherwise', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'campaign_item_outcome_once';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER campaign_item_guard BEFORE UPDATE ON executions_campaignitem
    FOR EACH ROW EXECUTE FUNCTION guard_campaign_item();
CREATE TRIGGER campaign_item_not_deleted BEFORE DELETE ON executions_campaignitem
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER campaign_item_not_truncated BEFORE TRUNCATE ON executions_campaignitem
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE FUNCTION guard_submission() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    -- The lock, which the foreign key takes later anyway, makes a retirement wait for this transaction, and re-reads
    -- the status if a retirement held it.
    PERFORM FROM releases_release r JOIN releases_pipeline p ON p.id = r.pipeline_id
        JOIN releases_activation a ON a.id = p.activation_id AND a.release_id = r.id
        WHERE r.id = NEW.release_id AND r.status = 'REGISTERED' AND p.tenant_id = NEW.tenant_id
            AND p.pipeline_id = NEW.pipeline_id AND r.contract_version = NEW.contract_version
            AND r.release_version = NEW.release_version
        FOR KEY SHARE OF r;
    IF NOT FOUND THEN
        -- A resubmission and a smoke test may name a release that is not active, and a submission one that is still open.
        -- A separate statement, so that others do not pay for it.
        PERFORM FROM releases_release r JOIN releases_pipeline p ON p.id = r.pipeline_id
            WHERE r.id = NEW.release_id AND r.status = 'REGISTERED' AND p.tenant_id = NEW.tenant_id
                AND p.pipeline_id = NEW.pipeline_id AND r.contract_version = NEW.contract_version
                AND r.release_version = NEW.release_version
                AND (NEW.smoke OR release_open_until(r.id) > clock_timestamp() OR EXISTS (
                    SELECT FROM executions_resubmission s WHERE s.new_execution_id = NEW.id AND s.created_at = now()))
            FOR KEY SHARE OF r;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'execution %: the pin does not name an open release of the pipeline and tenant', NEW.id
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_pin_exists';
        END IF;
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
        NEW.checkpoints, NEW.smoke, NEW.submitted_by, NEW.created_at)
        IS DISTINCT FROM
        (OLD.id, OLD.execution_key, OLD.input_digest, OLD.input_shape, OLD.result_shape,
        OLD.checkpoints, OLD.smoke, OLD.submitted_by, OLD.created_at)
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

-- Initial values of new rows (see the functions of `tenancy`). Executions, their events, dead letters and await units
-- start with their columns' defaults: the application role may not set those columns.
CREATE TRIGGER interaction_starts AFTER INSERT ON executions_interaction
    FOR EACH ROW WHEN ((NEW.created_at = now() AND NEW.updated_at = now() AND NEW.version = 0
        AND NEW.dispatch_attempts = 0 AND NEW.status IN ('WAITING', 'DISPATCHING', 'DISPATCHED')) IS NOT TRUE)
    EXECUTE FUNCTION refuse_insert();
CREATE TRIGGER campaign_starts AFTER INSERT ON executions_campaign
    FOR EACH ROW WHEN ((NEW.created_at = now() AND NEW.rate_since = now() AND NEW.status = 'RUNNING'
        AND NEW.admitted = 0) IS NOT TRUE) EXECUTE FUNCTION refuse_insert();
CREATE TRIGGER campaign_event_starts AFTER INSERT ON executions_campaignevent
    FOR EACH ROW WHEN ((NEW.at = now()) IS NOT TRUE) EXECUTE FUNCTION refuse_insert();
CREATE TRIGGER worker_event_starts AFTER INSERT ON executions_workerevent
    FOR EACH ROW WHEN ((NEW.at = now()) IS NOT TRUE) EXECUTE FUNCTION refuse_insert();

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

CREATE FUNCTION guard_new_units() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM added a WHERE (SELECT e.id FROM executions_execution e
        WHERE e.id = a.execution_id AND e.tenant_id = a.tenant_id AND e.await_unit_id = a.id) IS NULL)
    THEN
        RAISE EXCEPTION 'an await unit must belong to an execution of its tenant that waits for it'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER await_unit_of_waiting AFTER INSERT ON executions_awaitunit
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard_new_units();

-- Together with the unique item index, this gives a unit exactly the interactions that it expects.
CREATE FUNCTION guard_new_interactions() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM (SELECT unit_id, min(item_index) AS first, max(item_index) AS last,
            count(*) - count(item_index) AS without_index FROM added GROUP BY unit_id) a
        WHERE (SELECT u.status = 'WAITING_EXTERNAL' AND CASE WHEN u.itemized
                THEN a.without_index = 0 AND a.first >= 0 AND a.last < u.expected_items
                ELSE a.last IS NULL END
            FROM executions_awaitunit u WHERE u.id = a.unit_id) IS NOT TRUE)
    THEN
        RAISE EXCEPTION 'an interaction must be one that its open await unit expects'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER interaction_of_open_unit AFTER INSERT ON executions_interaction
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard_new_interactions();

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

CREATE FUNCTION guard_new_campaign_items() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM added a WHERE (SELECT c.id FROM executions_campaign c, executions_execution e
        WHERE c.id = a.campaign_id AND c.created_at = now() AND e.id = a.execution_id AND e.tenant_id = c.tenant_id
            AND e.version = a.expected_version AND e.status IN ('FAILED', 'DLQ')) IS NULL)
    THEN
        RAISE EXCEPTION 'the items of a campaign must be failed executions of its tenant, written with it'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER campaign_items_with_campaign AFTER INSERT ON executions_campaignitem
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard_new_campaign_items();

CREATE FUNCTION guard_campaign_event() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    before text := (SELECT v.kind FROM executions_campaignevent v
        WHERE v.campaign_id = NEW.campaign_id AND v.id < NEW.id ORDER BY v.id DESC LIMIT 1);
    status text := (SELECT c.status FROM executions_campaign c WHERE c.id = NEW.campaign_id);
BEGIN
    IF (concat(before, '>', NEW.kind, ' ', status) = ANY (ARRAY['>STARTED RUNNING',
        'STARTED>PAUSED PAUSED', 'RESUMED>PAUSED PAUSED', 'PAUSED>RESUMED RUNNING',
        'STARTED>COMPLETED COMPLETED', 'RESUMED>COMPLETED COMPLETED',
        'STARTED>CANCELLED CANCELLED', 'RESUMED>CANCELLED CANCELLED', 'PAUSED>CANCELLED CANCELLED'])) IS NOT TRUE
    THEN
        RAISE EXCEPTION 'campaign %: % cannot be followed by %', NEW.campaign_id, coalesce(before, 'nothing'), NEW.kind
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER campaign_event_of_change AFTER INSERT ON executions_campaignevent
    FOR EACH ROW EXECUTE FUNCTION guard_campaign_event();

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
"""
BACKWARD = """
ALTER TABLE executions_interaction DROP CONSTRAINT interaction_of_its_unit;
DROP FUNCTION guard_dead_letter, guard_new_units, guard_new_interactions, guard_wire_input, guard_new_campaign_items,
    guard_campaign_event, guard_worker_event, guard_execution, guard_event_count, guard_event_sequence, guard_submission, guard_interaction,
    guard_await_unit, guard_wire_form, guard_wire_result, guard_campaign, guard_campaign_item, guard_removal,
    guard_history CASCADE;
DROP TRIGGER interaction_starts ON executions_interaction;
DROP TRIGGER campaign_starts ON executions_campaign;
DROP TRIGGER campaign_event_starts ON executions_campaignevent;
DROP TRIGGER worker_event_starts ON executions_workerevent;
DROP TRIGGER deadletter_not_truncated ON executions_deadletter;
DROP TRIGGER workerevent_append_only ON executions_workerevent;
DROP TRIGGER workerevent_not_truncated ON executions_workerevent;
DROP TRIGGER campaign_not_deleted ON executions_campaign;
DROP TRIGGER campaign_not_truncated ON executions_campaign;
DROP TRIGGER campaign_item_not_deleted ON executions_campaignitem;
DROP TRIGGER campaign_item_not_truncated ON executions_campaignitem;
DROP TRIGGER campaignevent_append_only ON executions_campaignevent;
DROP TRIGGER campaignevent_not_truncated ON executions_campaignevent;
DROP TRIGGER event_not_truncated ON executions_executionevent;
DROP TRIGGER execution_not_truncated ON executions_execution;
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0001_initial"), ("releases", "0002_invariants"))
    operations = (migrations.RunSQL(FORWARD, BACKWARD),)
