"""Guards of resubmissions, and of campaigns with their items and events."""

from django.db import migrations

RESUBMISSIONS = """
-- The link is inserted first, so that the guard of the execution can read it. At the commit, the execution must exist.
CREATE FUNCTION guard_resubmission() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM executions_execution e WHERE e.id = NEW.execution_id
        AND e.version = NEW.execution_version AND e.finished_at IS NOT NULL)
    THEN
        RAISE EXCEPTION 'execution %: only an execution that has ended is resubmitted, in its present version',
            NEW.execution_id USING ERRCODE = 'restrict_violation', CONSTRAINT = 'resubmission_of_finished';
    END IF;
    IF NEW.campaign_id IS NOT NULL AND NOT EXISTS (
        SELECT FROM executions_campaign c JOIN executions_campaignitem i ON i.campaign_id = c.id
        WHERE c.id = NEW.campaign_id AND c.kind = 'resubmit' AND i.execution_id = NEW.execution_id
            AND i.expected_version = NEW.execution_version AND i.outcome = 'PENDING')
    THEN
        RAISE EXCEPTION 'execution %: it must be a pending item of the campaign that resubmits it', NEW.execution_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'resubmission_of_item';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER resubmission_guard AFTER INSERT ON executions_resubmission
    FOR EACH ROW EXECUTE FUNCTION guard_resubmission();

CREATE FUNCTION guard_resubmitted() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM executions_execution n, executions_execution o
        WHERE n.id = NEW.new_execution_id AND o.id = NEW.execution_id AND n.created_at = now()
            AND n.tenant_id = o.tenant_id AND n.pipeline_id = o.pipeline_id
            AND n.execution_key = concat('resubmit:', o.id, ':', NEW.operation_key)
            AND NEW.edited = (n.input_digest <> o.input_digest))
    THEN
        RAISE EXCEPTION 'resubmission of %: its new execution must be written with it, in the pipeline of the old one',
            NEW.execution_id USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER resubmission_creates_execution AFTER INSERT ON executions_resubmission
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION guard_resubmitted();

-- A new execution starts at step 0 with its input. Only a linked one may start with the checkpoint that it continues.
CREATE FUNCTION guard_start() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM executions_resubmission s JOIN executions_execution o ON o.id = s.execution_id
        WHERE s.new_execution_id = NEW.id AND s.created_at = now() AND s.checkpoint_step = NEW.current_step_index
            AND o.version = s.execution_version AND o.finished_at IS NOT NULL
            AND (o.tenant_id, o.pipeline_id, o.input_digest) = (NEW.tenant_id, NEW.pipeline_id, NEW.input_digest)
            AND (o.current_step_index, o.progress, o.progress_shape)
                = (NEW.current_step_index, NEW.progress, NEW.progress_shape))
    THEN
        RAISE EXCEPTION 'execution %: it starts with its input, or as its link says with the checkpoint of the old one',
            NEW.id USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER execution_starts_at_checkpoint AFTER INSERT ON executions_execution FOR EACH ROW
    WHEN (NEW.current_step_index <> 0 OR NEW.progress IS NOT NULL OR NEW.progress_shape IS NOT NULL)
    EXECUTE FUNCTION guard_start();

CREATE FUNCTION guard_continued() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM executions_execution n
        WHERE n.id = NEW.new_execution_id AND n.current_step_index = NEW.checkpoint_step AND n.progress IS NOT NULL)
    THEN
        RAISE EXCEPTION 'resubmission of %: its new execution must start with the checkpoint', NEW.execution_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER resubmission_continues AFTER INSERT ON executions_resubmission
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.checkpoint_step IS NOT NULL)
    EXECUTE FUNCTION guard_continued();
CREATE TRIGGER resubmission_append_only BEFORE UPDATE OR DELETE ON executions_resubmission
    FOR EACH ROW EXECUTE FUNCTION guard_history();
CREATE TRIGGER resubmission_not_truncated BEFORE TRUNCATE ON executions_resubmission
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
CAMPAIGNS = """
CREATE TRIGGER campaign_starts AFTER INSERT ON executions_campaign
    FOR EACH ROW WHEN ((NEW.created_at = now() AND NEW.rate_since = now() AND NEW.status IN ('DRAFT', 'RUNNING')
        AND NEW.admitted = 0 AND NOT NEW.canary_over AND NEW.failures_accepted = 0) IS NOT TRUE)
    EXECUTE FUNCTION refuse_insert();

-- A draft has no event. Its options change only as it starts.
CREATE FUNCTION guard_campaign() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF OLD.status IN ('COMPLETED', 'CANCELLED') THEN
        RAISE EXCEPTION 'campaign %: a finished campaign never changes', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'campaign_over_is_over';
    END IF;
    IF (NEW.id, NEW.tenant_id, NEW.kind, NEW.filters, NEW.allow_failed, NEW.cut, NEW.created_at)
        IS DISTINCT FROM (OLD.id, OLD.tenant_id, OLD.kind, OLD.filters, OLD.allow_failed, OLD.cut, OLD.created_at)
        OR OLD.status <> 'DRAFT' AND (NEW.target_release_version, NEW.start_from, NEW.revoked_releases, NEW.reason,
            NEW.rate_per_minute, NEW.canary, NEW.stop_after_failures, NEW.created_by)
        IS DISTINCT FROM (OLD.target_release_version, OLD.start_from, OLD.revoked_releases, OLD.reason,
            OLD.rate_per_minute, OLD.canary, OLD.stop_after_failures, OLD.created_by)
    THEN
        RAISE EXCEPTION 'campaign %: what was ordered never changes', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'campaign_immutable';
    END IF;
    IF OLD.status = 'DRAFT' AND (NEW.status <> 'RUNNING' OR NEW.rate_since <> now() OR NEW.admitted <> 0
            OR NEW.canary_over OR NEW.failures_accepted <> 0)
        OR OLD.status <> 'DRAFT' AND NEW.status = 'DRAFT'
    THEN
        RAISE EXCEPTION 'campaign %: a draft only starts, and a campaign that has started is no draft', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'campaign_draft_starts';
    END IF;
    IF NEW.failures_accepted <> OLD.failures_accepted AND (OLD.status, NEW.status) <> ('PAUSED', 'RUNNING')
        OR OLD.canary_over AND NOT NEW.canary_over
    THEN
        RAISE EXCEPTION 'campaign %: only a resume accepts failures, and a canary is over once', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'campaign_resume_accepts';
    END IF;
    IF NEW.finished_at <> now() THEN
        RAISE EXCEPTION 'campaign %: finished_at must be the current time', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'campaign_finish_is_now';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER campaign_guard BEFORE UPDATE ON executions_campaign FOR EACH ROW EXECUTE FUNCTION guard_campaign();
CREATE TRIGGER campaign_not_deleted BEFORE DELETE ON executions_campaign
    FOR EACH ROW WHEN (OLD.status <> 'DRAFT') EXECUTE FUNCTION refuse_change();
CREATE TRIGGER campaign_not_truncated BEFORE TRUNCATE ON executions_campaign
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
ITEMS = """
CREATE FUNCTION guard_new_campaign_items() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM added a WHERE (SELECT c.id FROM executions_campaign c, executions_execution e
        WHERE c.id = a.campaign_id AND c.created_at = now() AND e.id = a.execution_id AND e.tenant_id = c.tenant_id
            AND e.version = a.expected_version AND CASE WHEN c.kind IN ('cancel', 'pause')
                THEN e.finished_at IS NULL ELSE e.status IN ('FAILED', 'DLQ') END) IS NULL)
    THEN
        RAISE EXCEPTION 'the items of a campaign must be executions of its tenant that its kind fits, written with it'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER campaign_items_with_campaign AFTER INSERT ON executions_campaignitem
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard_new_campaign_items();

CREATE FUNCTION guard_campaign_item() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF (NEW.id, NEW.campaign_id, NEW.execution_id, NEW.expected_version)
        IS DISTINCT FROM (OLD.id, OLD.campaign_id, OLD.execution_id, OLD.expected_version)
        OR OLD.outcome <> 'PENDING' AND (NEW.accepted_version IS NOT DISTINCT FROM OLD.accepted_version
            OR (NEW.outcome, NEW.code, NEW.at, NEW.new_execution_id)
            IS DISTINCT FROM (OLD.outcome, OLD.code, OLD.at, OLD.new_execution_id))
    THEN
        RAISE EXCEPTION 'campaign item %: it gets one outcome and never changes otherwise', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'campaign_item_outcome_once';
    END IF;
    IF NEW.accepted_version IS DISTINCT FROM OLD.accepted_version AND NOT EXISTS (
        SELECT FROM executions_campaign c, executions_execution e
        WHERE c.id = NEW.campaign_id AND c.status = 'PAUSED' AND c.cause <> '' AND OLD.outcome = NEW.outcome
            AND NEW.outcome IN ('REDRIVEN', 'RESUBMITTED') AND e.id = coalesce(NEW.new_execution_id, NEW.execution_id)
            AND e.status IN ('FAILED', 'DLQ') AND e.version = NEW.accepted_version)
    THEN
        RAISE EXCEPTION 'campaign item %: only a resume accepts a failure, in its present version', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'campaign_resume_accepts';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER campaign_item_guard BEFORE UPDATE ON executions_campaignitem
    FOR EACH ROW EXECUTE FUNCTION guard_campaign_item();

CREATE FUNCTION guard_resubmitted_item() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM executions_resubmission r
        WHERE r.new_execution_id = NEW.new_execution_id AND r.execution_id = NEW.execution_id
            AND r.campaign_id = NEW.campaign_id AND r.execution_version = NEW.expected_version)
    THEN
        RAISE EXCEPTION 'campaign item %: it is resubmitted when its campaign has created the new execution', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER campaign_item_has_resubmission AFTER UPDATE ON executions_campaignitem
    FOR EACH ROW WHEN (NEW.outcome = 'RESUBMITTED') EXECUTE FUNCTION guard_resubmitted_item();

-- The lock makes a start of the draft wait, so that a campaign never starts without its items.
CREATE FUNCTION guard_removed_campaign_items() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM FROM executions_campaign c WHERE c.status = 'DRAFT' AND c.id IN (SELECT campaign_id FROM removed)
        ORDER BY c.id FOR NO KEY UPDATE;
    IF EXISTS (SELECT FROM removed r
        WHERE NOT EXISTS (SELECT FROM executions_campaign c WHERE c.id = r.campaign_id AND c.status = 'DRAFT'))
    THEN
        RAISE EXCEPTION 'only the items of a draft are removed'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER campaign_item_not_deleted AFTER DELETE ON executions_campaignitem
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION guard_removed_campaign_items();
CREATE TRIGGER campaign_item_not_truncated BEFORE TRUNCATE ON executions_campaignitem
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
EVENTS = """
CREATE FUNCTION guard_campaign_event() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    before text := (SELECT v.kind FROM executions_campaignevent v
        WHERE v.campaign_id = NEW.campaign_id AND v.id < NEW.id ORDER BY v.id DESC LIMIT 1);
    status text := (SELECT c.status FROM executions_campaign c WHERE c.id = NEW.campaign_id);
BEGIN
    IF (concat(before, '>', NEW.kind, ' ', status) = ANY (ARRAY['>STARTED RUNNING',
        'STARTED>CANARY_PASSED RUNNING', 'RESUMED>CANARY_PASSED RUNNING',
        'STARTED>PAUSED PAUSED', 'RESUMED>PAUSED PAUSED', 'CANARY_PASSED>PAUSED PAUSED', 'PAUSED>RESUMED RUNNING',
        'STARTED>COMPLETED COMPLETED', 'RESUMED>COMPLETED COMPLETED', 'CANARY_PASSED>COMPLETED COMPLETED',
        'STARTED>CANCELLED CANCELLED', 'RESUMED>CANCELLED CANCELLED', 'CANARY_PASSED>CANCELLED CANCELLED',
        'PAUSED>CANCELLED CANCELLED'])) IS NOT TRUE
    THEN
        RAISE EXCEPTION 'campaign %: % cannot be followed by %', NEW.campaign_id, coalesce(before, 'nothing'), NEW.kind
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER campaign_event_of_change AFTER INSERT ON executions_campaignevent
    FOR EACH ROW EXECUTE FUNCTION guard_campaign_event();
CREATE TRIGGER campaign_event_starts AFTER INSERT ON executions_campaignevent
    FOR EACH ROW WHEN ((NEW.at = now()) IS NOT TRUE) EXECUTE FUNCTION refuse_insert();
CREATE TRIGGER campaignevent_append_only BEFORE UPDATE OR DELETE ON executions_campaignevent
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER campaignevent_not_truncated BEFORE TRUNCATE ON executions_campaignevent
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0005_guards_failures"),)
    operations = (
        migrations.RunSQL(RESUBMISSIONS),
        migrations.RunSQL(CAMPAIGNS),
        migrations.RunSQL(ITEMS),
        migrations.RunSQL(EVENTS),
    )
