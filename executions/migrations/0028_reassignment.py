"""An open interaction may get other recipients, with an event that says why, in one statement."""

from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models
from django.db.models import Q

KIND = "interaction_event_kind"
GUARDS = """
CREATE OR REPLACE FUNCTION guard_interaction() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' AND NOT EXISTS (SELECT FROM executions_execution WHERE id = OLD.execution_id) THEN
        RETURN OLD;
    END IF;
    IF TG_OP = 'DELETE' OR OLD.status NOT IN ('WAITING', 'DISPATCHING', 'DISPATCHED') THEN
        RAISE EXCEPTION 'interaction %: what is over never changes', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'interaction_over_is_over';
    END IF;
    -- Other recipients are a change of the claim, so `guard_claim` requires their event.
    IF (NEW.id, NEW.tenant_id, NEW.unit_id, NEW.execution_id, NEW.step_id, NEW.step_index, NEW.item_index,
        NEW.correlation_id, NEW.worker_name, NEW.request, NEW.output_type, NEW.created_at)
        IS DISTINCT FROM
        (OLD.id, OLD.tenant_id, OLD.unit_id, OLD.execution_id, OLD.step_id, OLD.step_index, OLD.item_index,
        OLD.correlation_id, OLD.worker_name, OLD.request, OLD.output_type, OLD.created_at)
        OR (NEW.transport, NEW.transport_metadata) IS DISTINCT FROM (OLD.transport, OLD.transport_metadata)
        OR (NEW.assignee, NEW."group") IS DISTINCT FROM (OLD.assignee, OLD."group")
            AND NEW.claim_changes = OLD.claim_changes
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

CREATE OR REPLACE FUNCTION guard_claim() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NEW.claim_changes <> OLD.claim_changes + 1 OR NOT EXISTS (
        SELECT FROM executions_interactionevent v
        WHERE v.interaction_id = NEW.id AND v.sequence = NEW.claim_changes
            AND (v.claimed_by, v.claimed_until, v.delegate)
                IS NOT DISTINCT FROM (NEW.claimed_by, NEW.claimed_until, NEW.delegate)
            AND CASE v.kind WHEN 'REASSIGNED'
                THEN (v.assignee, v."group") IS NOT DISTINCT FROM (NEW.assignee, NEW."group")
                ELSE (OLD.assignee, OLD."group") IS NOT DISTINCT FROM (NEW.assignee, NEW."group") END)
    THEN
        RAISE EXCEPTION 'interaction %: a claim changes with its event, in one statement', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0027_schedules"),)
    operations = (
        migrations.AddField("interactionevent", "assignee", models.CharField(max_length=200, null=True)),
        migrations.AddField("interactionevent", "group", models.CharField(max_length=200, null=True)),
        migrations.AlterField(
            "interactionevent",
            "kind",
            models.CharField(
                choices=[
                    ("CLAIMED", "Claimed"),
                    ("RENEWED", "Renewed"),
                    ("TAKEN_OVER", "Taken Over"),
                    ("RELEASED", "Released"),
                    ("DELEGATED", "Delegated"),
                    ("REASSIGNED", "Reassigned"),
                ],
                max_length=10,
            ),
        ),
        migrations.RemoveConstraint("interactionevent", KIND),
        AddConstraintNotValid(
            "interactionevent",
            models.CheckConstraint(
                condition=Q(
                    Q(kind__in=["CLAIMED", "RENEWED", "TAKEN_OVER"], claimed_by=models.F("actor"))
                    | Q(kind="RELEASED", claimed_by__isnull=True)
                    | Q(kind="DELEGATED", claimed_by__isnull=True, delegate__isnull=False),
                    assignee__isnull=True,
                    group__isnull=True,
                )
                | Q(
                    Q(assignee__isnull=False) | Q(group__isnull=False),
                    kind="REASSIGNED",
                    claimed_by__isnull=True,
                    delegate__isnull=True,
                    note__isnull=False,
                ),
                name=KIND,
            ),
        ),
        migrations.RunSQL(GUARDS),
    )
