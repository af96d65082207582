"""Drafts of campaigns, campaigns that cancel or pause, their canaries, and their bounds of failures."""

from django.db import migrations, models
from django.db.models import Q

# A draft has no event. Its options change only as it starts.
GUARDS = """
CREATE OR REPLACE FUNCTION guard_campaign() RETURNS trigger LANGUAGE plpgsql
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

CREATE OR REPLACE FUNCTION guard_new_campaign_items() RETURNS trigger LANGUAGE plpgsql
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

CREATE OR REPLACE FUNCTION guard_campaign_event() RETURNS trigger LANGUAGE plpgsql
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

DROP TRIGGER campaign_start_immutable ON executions_campaign;

DROP TRIGGER campaign_starts ON executions_campaign;
CREATE TRIGGER campaign_starts AFTER INSERT ON executions_campaign
    FOR EACH ROW WHEN ((NEW.created_at = now() AND NEW.rate_since = now() AND NEW.status IN ('DRAFT', 'RUNNING')
        AND NEW.admitted = 0 AND NOT NEW.canary_over AND NEW.failures_accepted = 0) IS NOT TRUE)
    EXECUTE FUNCTION refuse_insert();

DROP TRIGGER campaign_not_deleted ON executions_campaign;
CREATE TRIGGER campaign_not_deleted BEFORE DELETE ON executions_campaign
    FOR EACH ROW WHEN (OLD.status <> 'DRAFT') EXECUTE FUNCTION refuse_change();

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
DROP TRIGGER campaign_item_not_deleted ON executions_campaignitem;
CREATE TRIGGER campaign_item_not_deleted AFTER DELETE ON executions_campaignitem
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION guard_removed_campaign_items();
"""

BEFORE = """
CREATE OR REPLACE FUNCTION guard_campaign() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF OLD.status IN ('COMPLETED', 'CANCELLED') THEN
        RAISE EXCEPTION 'campaign %: a finished campaign never changes', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'campaign_over_is_over';
    END IF;
    IF (NEW.id, NEW.tenant_id, NEW.kind, NEW.target_release_version, NEW.filters, NEW.allow_failed,
        NEW.revoked_releases, NEW.reason, NEW.rate_per_minute, NEW.created_by, NEW.created_at)
        IS DISTINCT FROM
        (OLD.id, OLD.tenant_id, OLD.kind, OLD.target_release_version, OLD.filters, OLD.allow_failed,
        OLD.revoked_releases, OLD.reason, OLD.rate_per_minute, OLD.created_by, OLD.created_at)
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

CREATE OR REPLACE FUNCTION guard_new_campaign_items() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
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

CREATE OR REPLACE FUNCTION guard_campaign_event() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
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

CREATE TRIGGER campaign_start_immutable BEFORE UPDATE OF start_from ON executions_campaign
    FOR EACH ROW WHEN (NEW.start_from IS DISTINCT FROM OLD.start_from) EXECUTE FUNCTION refuse_change();

DROP TRIGGER campaign_starts ON executions_campaign;
CREATE TRIGGER campaign_starts AFTER INSERT ON executions_campaign
    FOR EACH ROW WHEN ((NEW.created_at = now() AND NEW.rate_since = now() AND NEW.status = 'RUNNING'
        AND NEW.admitted = 0) IS NOT TRUE) EXECUTE FUNCTION refuse_insert();

DROP TRIGGER campaign_not_deleted ON executions_campaign;
CREATE TRIGGER campaign_not_deleted BEFORE DELETE ON executions_campaign
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
DROP FUNCTION guard_removed_campaign_items CASCADE;
CREATE TRIGGER campaign_item_not_deleted BEFORE DELETE ON executions_campaignitem
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
"""
STATUSES = [
    ("DRAFT", "Draft"),
    ("RUNNING", "Running"),
    ("PAUSED", "Paused"),
    ("COMPLETED", "Completed"),
    ("CANCELLED", "Cancelled"),
]
RESULTS = [
    ("PENDING", "Pending"),
    ("REDRIVEN", "Redriven"),
    ("RESUBMITTED", "Resubmitted"),
    ("CANCELLED", "Cancelled"),
    ("PAUSED", "Paused"),
    ("SKIPPED", "Skipped"),
]


class Migration(migrations.Migration):
    dependencies = (("executions", "0011_smoke"),)
    operations = (
        migrations.AddField("campaign", "canary", models.PositiveIntegerField(null=True)),
        migrations.AddField("campaign", "canary_over", models.BooleanField(db_default=False, default=False)),
        migrations.AddField("campaign", "stop_after_failures", models.PositiveIntegerField(null=True)),
        migrations.AddField("campaign", "failures_accepted", models.PositiveIntegerField(db_default=0, default=0)),
        migrations.AddField("campaign", "cut", models.BooleanField(db_default=False, default=False)),
        migrations.AddField(
            "campaign",
            "cause",
            models.CharField(
                blank=True,
                choices=[("canary", "Canary"), ("failures", "Failures")],
                db_default="",
                default="",
                max_length=10,
            ),
        ),
        migrations.AlterField(
            "campaign",
            "kind",
            models.CharField(
                choices=[("redrive", "Redrive"), ("resubmit", "Resubmit"), ("cancel", "Cancel"), ("pause", "Pause")],
                db_default="redrive",
                default="redrive",
                max_length=10,
            ),
        ),
        migrations.AlterField(
            "campaign", "status", models.CharField(choices=STATUSES, default="RUNNING", max_length=10)
        ),
        migrations.AlterField(
            "campaignitem",
            "outcome",
            models.CharField(choices=RESULTS, db_default="PENDING", default="PENDING", max_length=12),
        ),
        migrations.RemoveConstraint("campaign", "campaign_over_has_finish"),
        migrations.AddConstraint(
            "campaign",
            models.CheckConstraint(
                condition=Q(status__in=["COMPLETED", "CANCELLED"], finished_at__isnull=False)
                | Q(status__in=["DRAFT", "RUNNING", "PAUSED"], finished_at__isnull=True),
                name="campaign_over_has_finish",
            ),
        ),
        migrations.RemoveConstraint("campaign", "campaign_target_of_resubmission"),
        migrations.AddConstraint(
            "campaign",
            models.CheckConstraint(
                condition=Q(kind__in=["redrive", "cancel", "pause"], target_release_version="") | Q(kind="resubmit"),
                name="campaign_target_of_resubmission",
            ),
        ),
        migrations.AddConstraint(
            "campaign",
            models.CheckConstraint(
                condition=Q(canary__isnull=True, stop_after_failures__isnull=True)
                | Q(kind__in=["redrive", "resubmit"])
                & (Q(canary__isnull=True) | Q(canary__gte=1))
                & (Q(stop_after_failures__isnull=True) | Q(stop_after_failures__gte=1)),
                name="campaign_bounds",
            ),
        ),
        migrations.AddConstraint(
            "campaign",
            models.CheckConstraint(
                condition=Q(canary_over=False) | Q(canary__isnull=False), name="campaign_over_canary"
            ),
        ),
        migrations.AddConstraint(
            "campaign",
            models.CheckConstraint(
                condition=Q(cause="")
                | Q(status="PAUSED", cause="canary", canary__isnull=False)
                | Q(status="PAUSED", cause="failures", stop_after_failures__isnull=False),
                name="campaign_cause_of_pause",
            ),
        ),
        migrations.AddIndex(
            "campaign", models.Index(condition=Q(status="DRAFT"), fields=["created_at"], name="campaign_draft")
        ),
        migrations.RunSQL(GUARDS, BEFORE),
    )
