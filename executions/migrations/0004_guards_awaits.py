"""Guards of await units, their interactions, and claims of interactions by people."""

from django.db import migrations

AWAIT_UNITS = """
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

-- Fires only if a statement sets the column, so that answers do not pay for it.
CREATE TRIGGER await_unit_traceparent_immutable BEFORE UPDATE OF traceparent ON executions_awaitunit
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
"""
INTERACTIONS = """
ALTER TABLE executions_interaction ADD CONSTRAINT interaction_of_its_unit
    FOREIGN KEY (unit_id, execution_id, tenant_id) REFERENCES executions_awaitunit (id, execution_id, tenant_id)
    DEFERRABLE INITIALLY DEFERRED;

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
CREATE TRIGGER interaction_starts AFTER INSERT ON executions_interaction
    FOR EACH ROW WHEN ((NEW.created_at = now() AND NEW.updated_at = now() AND NEW.version = 0
        AND NEW.dispatch_attempts = 0 AND NEW.status IN ('WAITING', 'DISPATCHING', 'DISPATCHED')) IS NOT TRUE)
    EXECUTE FUNCTION refuse_insert();

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
"""
CLAIMS = """
-- An interaction and its event change in one statement, after which both triggers compare them. New interactions are
-- unclaimed and events have the current time: the application role may not insert those columns.
CREATE FUNCTION guard_claim() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NEW.claim_changes <> OLD.claim_changes + 1 OR NOT EXISTS (
        SELECT FROM executions_interactionevent v
        WHERE v.interaction_id = NEW.id AND v.sequence = NEW.claim_changes
            AND (v.claimed_by, v.claimed_until, v.delegate)
                IS NOT DISTINCT FROM (NEW.claimed_by, NEW.claimed_until, NEW.delegate))
    THEN
        RAISE EXCEPTION 'interaction %: a claim changes with its event, in one statement', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER interaction_claim_has_event
    AFTER UPDATE OF claimed_by, claimed_until, delegate, claim_changes ON executions_interaction
    FOR EACH ROW WHEN ((NEW.claimed_by, NEW.claimed_until, NEW.delegate, NEW.claim_changes)
        IS DISTINCT FROM (OLD.claimed_by, OLD.claimed_until, OLD.delegate, OLD.claim_changes))
    EXECUTE FUNCTION guard_claim();

CREATE FUNCTION guard_interaction_event() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM executions_interaction i
        WHERE i.id = NEW.interaction_id AND i.execution_id = NEW.execution_id AND i.tenant_id = NEW.tenant_id
            AND i.status IN ('WAITING', 'DISPATCHING', 'DISPATCHED') AND i.claim_changes = NEW.sequence
            AND (i.claimed_by, i.claimed_until, i.delegate)
                IS NOT DISTINCT FROM (NEW.claimed_by, NEW.claimed_until, NEW.delegate))
        OR NEW.claimed_until NOT BETWEEN now() AND clock_timestamp() + interval '30 minutes'
    THEN
        RAISE EXCEPTION 'interaction %: an event tells a change of its claim, which lasts half an hour', NEW.interaction_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER interaction_event_of_claim AFTER INSERT ON executions_interactionevent
    FOR EACH ROW EXECUTE FUNCTION guard_interaction_event();
CREATE TRIGGER interaction_event_append_only BEFORE UPDATE OR DELETE ON executions_interactionevent
    FOR EACH ROW EXECUTE FUNCTION guard_history();
CREATE TRIGGER interaction_event_not_truncated BEFORE TRUNCATE ON executions_interactionevent
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0003_guards_workers"),)
    operations = (migrations.RunSQL(AWAIT_UNITS), migrations.RunSQL(INTERACTIONS), migrations.RunSQL(CLAIMS))
