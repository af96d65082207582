"""Resubmissions run releases that are or were active, and respect pauses. Campaigns record which failures are accepted."""

from django.db import migrations, models

SUBMISSION = """
CREATE OR REPLACE FUNCTION guard_submission() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
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
        -- %(who)s. A separate statement, so that others do not pay for it.
        PERFORM FROM releases_release r JOIN releases_pipeline p ON p.id = r.pipeline_id
            WHERE r.id = NEW.release_id AND r.status = 'REGISTERED' AND p.tenant_id = NEW.tenant_id
                AND p.pipeline_id = NEW.pipeline_id AND r.contract_version = NEW.contract_version
                AND r.release_version = NEW.release_version
                AND (NEW.smoke OR release_open_until(r.id) > clock_timestamp() OR %(active)sEXISTS (
                    SELECT FROM executions_resubmission s WHERE s.new_execution_id = NEW.id AND s.created_at = now()))
            FOR KEY SHARE OF r;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'execution %%: the pin does not name an open release of the pipeline and tenant', NEW.id
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_pin_exists';
        END IF;
    END IF;%(pause)s
    IF NEW.status <> 'QUEUED' OR NEW.version <> 0 OR NEW.attempt <> 0 OR NEW.event_count <> 1 THEN
        RAISE EXCEPTION 'execution %%: an execution starts QUEUED, at version 0 and attempt 0, with one event', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_starts_queued';
    END IF;
    RETURN NEW;
END $$;
"""
NOW = SUBMISSION % {
    "who": "is or was active",
    "active": "release_open_until(r.id) IS NOT NULL AND ",
    # Other submissions pay for the comparison of their key alone. Their INSERT looks at the pauses of all rows at once.
    "pause": """
    -- The key of a resubmission begins so: see guard_resubmitted().
    IF starts_with(NEW.execution_key, 'resubmit:') AND EXISTS (
        SELECT FROM executions_resubmission s, releases_release r, executions_hold h
        WHERE s.new_execution_id = NEW.id AND r.id = NEW.release_id AND h.ended_at IS NULL AND h.refuses_submissions
            AND (h.release_id = r.id OR h.pipeline_id = r.pipeline_id))
    THEN
        RAISE EXCEPTION 'execution %: the release or its pipeline is paused and refuses submissions', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_not_refused';
    END IF;""",
}
BEFORE = SUBMISSION % {"who": "is registered", "active": "", "pause": ""}

ITEM = """
CREATE OR REPLACE FUNCTION guard_campaign_item() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
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
"""
ITEM_BEFORE = """
CREATE OR REPLACE FUNCTION guard_campaign_item() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF OLD.outcome <> 'PENDING' OR (NEW.id, NEW.campaign_id, NEW.execution_id, NEW.expected_version)
        IS DISTINCT FROM (OLD.id, OLD.campaign_id, OLD.execution_id, OLD.expected_version)
    THEN
        RAISE EXCEPTION 'campaign item %: it gets one outcome and never changes otherwise', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'campaign_item_outcome_once';
    END IF;
    RETURN NEW;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0025_late_claims"),)
    operations = (
        migrations.AddField("campaignitem", "accepted_version", models.BigIntegerField(null=True)),
        migrations.RunSQL(NOW + ITEM, BEFORE + ITEM_BEFORE),
    )
