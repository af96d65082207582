"""A campaign is DRAFTING until it has all items of its selection, which its batches freeze.

The executions of each batch are checked when the campaign selects them. Its items are written from its first batch by
the statement that removes the batch, and need no other check. A campaign is no longer DRAFTING when it has no batch and
as many items as it selected. Processes of the previous version write the items with the campaign, which stays possible.
"""

from typing import Any

import django.db.models.deletion
from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models
from django.db.models import Q
from psycopg import sql

FINISH = "campaign_over_has_finish"
BATCHES = """
-- It reads the snapshot of the statement that selected the executions, and so does the next one: see 0011_removals.
CREATE FUNCTION guard_campaign_batches() RETURNS trigger LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
BEGIN
    IF EXISTS (SELECT FROM added b
        LEFT JOIN executions_campaign c ON c.id = b.campaign_id AND c.created_at = now() AND c.status = 'DRAFTING',
        unnest(b.executions, b.versions) AS s(id, version)
        WHERE (SELECT e.tenant_id = c.tenant_id AND e.version = s.version
                AND CASE WHEN c.kind IN ('cancel', 'pause') THEN e.finished_at IS NULL
                    ELSE e.status IN ('FAILED', 'DLQ') END
            FROM executions_execution e WHERE e.id = s.id) IS NOT TRUE)
    THEN
        RAISE EXCEPTION 'a campaign selects executions of its tenant that its kind fits, in the transaction that adds it'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER campaign_batches_with_campaign AFTER INSERT ON executions_campaignbatch
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION guard_campaign_batches();
"""
ITEMS = """
CREATE OR REPLACE FUNCTION guard_new_campaign_items() RETURNS trigger LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
BEGIN
    IF EXISTS (
        WITH first AS MATERIALIZED (
            SELECT DISTINCT ON (b.campaign_id) b.campaign_id, b.executions, b.versions FROM executions_campaignbatch b
            JOIN executions_campaign c ON c.id = b.campaign_id AND c.status = 'DRAFTING'
            WHERE b.campaign_id IN (SELECT campaign_id FROM added) ORDER BY b.campaign_id, b.position
        )
        SELECT FROM (
            SELECT campaign_id, execution_id, expected_version FROM added
            EXCEPT SELECT f.campaign_id, s.id, s.version FROM first f, unnest(f.executions, f.versions) AS s(id, version)
        ) a WHERE (SELECT c.id FROM executions_campaign c, executions_execution e
            WHERE c.id = a.campaign_id AND c.created_at = now() AND c.status <> 'DRAFTING' AND e.id = a.execution_id
                AND e.tenant_id = c.tenant_id AND e.version = a.expected_version
                AND CASE WHEN c.kind IN ('cancel', 'pause') THEN e.finished_at IS NULL
                    ELSE e.status IN ('FAILED', 'DLQ') END) IS NULL)
    THEN
        RAISE EXCEPTION 'the items of a campaign are those of its first batch, or executions of its tenant that its '
            'kind fits, written with it' USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;

-- The lock makes a start of the draft wait, so that a campaign never starts without its items.
CREATE OR REPLACE FUNCTION guard_removed_campaign_items() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM FROM executions_campaign c
        WHERE c.status IN ('DRAFTING', 'DRAFT') AND c.id IN (SELECT campaign_id FROM removed)
        ORDER BY c.id FOR NO KEY UPDATE;
    IF EXISTS (SELECT FROM removed r WHERE NOT EXISTS (
        SELECT FROM executions_campaign c WHERE c.id = r.campaign_id AND c.status IN ('DRAFTING', 'DRAFT')))
    THEN
        RAISE EXCEPTION 'only the items of a draft are removed'
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
"""
CAMPAIGNS = """
DROP TRIGGER campaign_starts ON executions_campaign;
CREATE TRIGGER campaign_starts AFTER INSERT ON executions_campaign
    FOR EACH ROW WHEN ((NEW.created_at = now() AND NEW.rate_since = now()
        AND NEW.status IN ('DRAFTING', 'DRAFT', 'RUNNING') AND NEW.admitted = 0 AND NOT NEW.canary_over
        AND NEW.failures_accepted = 0 AND (NEW.status = 'DRAFTING' OR NEW.selected = 0 AND NOT NEW.starts)) IS NOT TRUE)
    EXECUTE FUNCTION refuse_insert();
DROP TRIGGER campaign_not_deleted ON executions_campaign;
CREATE TRIGGER campaign_not_deleted BEFORE DELETE ON executions_campaign
    FOR EACH ROW WHEN (OLD.status NOT IN ('DRAFTING', 'DRAFT')) EXECUTE FUNCTION refuse_change();

-- A draft has no event. Its options change only as it starts. What a campaign selected is known after it was added.
CREATE OR REPLACE FUNCTION guard_campaign() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF OLD.status IN ('COMPLETED', 'CANCELLED') THEN
        RAISE EXCEPTION 'campaign %: a finished campaign never changes', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'campaign_over_is_over';
    END IF;
    IF (NEW.id, NEW.tenant_id, NEW.kind, NEW.filters, NEW.allow_failed, NEW.starts, NEW.created_at)
        IS DISTINCT FROM (OLD.id, OLD.tenant_id, OLD.kind, OLD.filters, OLD.allow_failed, OLD.starts, OLD.created_at)
        OR OLD.status <> 'DRAFT' AND (NEW.target_release_version, NEW.start_from, NEW.reason,
            NEW.rate_per_minute, NEW.canary, NEW.stop_after_failures, NEW.created_by)
        IS DISTINCT FROM (OLD.target_release_version, OLD.start_from, OLD.reason,
            OLD.rate_per_minute, OLD.canary, OLD.stop_after_failures, OLD.created_by)
        OR (OLD.status, NEW.status, OLD.created_at) <> ('DRAFTING', 'DRAFTING', now())
            AND ((NEW.selected, NEW.cut) <> (OLD.selected, OLD.cut)
                OR OLD.status <> 'DRAFT' AND NEW.revoked_releases <> OLD.revoked_releases)
    THEN
        RAISE EXCEPTION 'campaign %: what was ordered never changes', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'campaign_immutable';
    END IF;
    IF OLD.status = 'DRAFT' AND (NEW.status <> 'RUNNING' OR NEW.rate_since <> now() OR NEW.admitted <> 0
            OR NEW.canary_over OR NEW.failures_accepted <> 0)
        OR OLD.status = 'DRAFTING' AND (NEW.status NOT IN ('DRAFTING', 'DRAFT') OR NEW.rate_since <> OLD.rate_since
            OR NEW.admitted <> 0 OR NEW.canary_over OR NEW.failures_accepted <> 0)
        OR OLD.status NOT IN ('DRAFTING', 'DRAFT') AND NEW.status IN ('DRAFTING', 'DRAFT')
    THEN
        RAISE EXCEPTION 'campaign %: a draft only starts, and a campaign that has started is no draft', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'campaign_draft_starts';
    END IF;
    IF (OLD.status = 'DRAFT' OR OLD.status = 'DRAFTING' AND NEW.status = 'DRAFT')
        AND EXISTS (SELECT FROM executions_campaignbatch b WHERE b.campaign_id = NEW.id)
        OR OLD.status = 'DRAFTING' AND NEW.status = 'DRAFT'
            AND (SELECT count(*) FROM executions_campaignitem i WHERE i.campaign_id = NEW.id) <> NEW.selected
    THEN
        RAISE EXCEPTION 'campaign %: a draft has an item for each execution that was selected', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'campaign_draft_complete';
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
"""


def _let_guards_read(_: Any, editor: Any) -> None:
    """The guards read the batches with the rights of their caller, before `migrate` has granted all rights."""
    role = settings.DATABASE_APPLICATION_ROLE
    with editor.connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", [role])
        if cursor.rowcount:
            cursor.execute(sql.SQL("GRANT SELECT ON executions_campaignbatch TO {}").format(sql.Identifier(role)))


class Migration(migrations.Migration):
    dependencies = (("executions", "0016_error_statistics"),)
    operations = (
        migrations.AlterField(
            "campaign",
            "status",
            models.CharField(
                choices=[
                    ("DRAFTING", "Drafting"),
                    ("DRAFT", "Draft"),
                    ("RUNNING", "Running"),
                    ("PAUSED", "Paused"),
                    ("COMPLETED", "Completed"),
                    ("CANCELLED", "Cancelled"),
                ],
                default="RUNNING",
                max_length=10,
            ),
        ),
        migrations.AddField("campaign", "selected", models.PositiveIntegerField(default=0, db_default=0)),
        migrations.AddField("campaign", "starts", models.BooleanField(default=False, db_default=False)),
        migrations.RemoveConstraint("campaign", FINISH),
        AddConstraintNotValid(
            "campaign",
            models.CheckConstraint(
                condition=Q(status__in=["COMPLETED", "CANCELLED"], finished_at__isnull=False)
                | Q(status__in=["DRAFTING", "DRAFT", "RUNNING", "PAUSED"], finished_at__isnull=True),
                name=FINISH,
            ),
        ),
        migrations.CreateModel(
            "CampaignBatch",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("position", models.PositiveIntegerField()),
                ("executions", ArrayField(models.UUIDField())),
                ("versions", ArrayField(models.BigIntegerField())),
                (
                    "campaign",
                    models.ForeignKey(
                        "executions.campaign", django.db.models.deletion.PROTECT, related_name="batches", db_index=False
                    ),
                ),
            ],
            {
                "ordering": ("campaign", "position"),
                "constraints": [
                    models.UniqueConstraint(fields=("campaign", "position"), name="campaign_batch_once"),
                    models.CheckConstraint(condition=Q(executions__len__gte=1), name="campaign_batch_selects"),
                ],
            },
        ),
        migrations.RunPython(_let_guards_read, migrations.RunPython.noop),
        migrations.RunSQL(BATCHES),
        migrations.RunSQL(ITEMS),
        migrations.RunSQL(CAMPAIGNS),
    )
