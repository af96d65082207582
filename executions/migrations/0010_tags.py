"""Executions have tags, and may be pinned to the candidate of a gradual activation."""

import django.contrib.postgres.fields
from django.db import migrations, models

FORWARD = """
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
        -- A resubmission may name a release that is not active. A separate statement, so that others do not pay for it.
        PERFORM FROM releases_release r JOIN releases_pipeline p ON p.id = r.pipeline_id
            JOIN executions_resubmission s ON s.new_execution_id = NEW.id AND s.created_at = now()
            WHERE r.id = NEW.release_id AND r.status = 'REGISTERED' AND p.tenant_id = NEW.tenant_id
                AND p.pipeline_id = NEW.pipeline_id AND r.contract_version = NEW.contract_version
                AND r.release_version = NEW.release_version
            FOR KEY SHARE OF r;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'execution %: the pin does not name the active release of the pipeline and tenant, nor its candidate', NEW.id
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_pin_exists';
        END IF;
    END IF;
    IF NEW.status <> 'QUEUED' OR NEW.version <> 0 OR NEW.attempt <> 0 OR NEW.event_count <> 1 THEN
        RAISE EXCEPTION 'execution %: an execution starts QUEUED, at version 0 and attempt 0, with one event', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_starts_queued';
    END IF;
    RETURN NEW;
END $$;
-- Fires only if a statement sets the column, so that moves do not pay for it.
CREATE TRIGGER execution_tags_immutable BEFORE UPDATE OF tags ON executions_execution
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
"""
BACKWARD = """
DROP TRIGGER execution_tags_immutable ON executions_execution;
CREATE OR REPLACE FUNCTION guard_submission() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
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
        -- A resubmission may name a release that is not active. A separate statement, so that others do not pay for it.
        PERFORM FROM releases_release r JOIN releases_pipeline p ON p.id = r.pipeline_id
            JOIN executions_resubmission s ON s.new_execution_id = NEW.id AND s.created_at = now()
            WHERE r.id = NEW.release_id AND r.status = 'REGISTERED' AND p.tenant_id = NEW.tenant_id
                AND p.pipeline_id = NEW.pipeline_id AND r.contract_version = NEW.contract_version
                AND r.release_version = NEW.release_version
            FOR KEY SHARE OF r;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'execution %: the pin does not name the active release of the pipeline and tenant', NEW.id
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_pin_exists';
        END IF;
    END IF;
    IF NEW.status <> 'QUEUED' OR NEW.version <> 0 OR NEW.attempt <> 0 OR NEW.event_count <> 1 THEN
        RAISE EXCEPTION 'execution %: an execution starts QUEUED, at version 0 and attempt 0, with one event', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_starts_queued';
    END IF;
    RETURN NEW;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0009_resubmit_from_checkpoint"), ("releases", "0008_gradual"))
    operations = (
        migrations.AddField(
            "execution",
            "tags",
            django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=100), null=True, size=None
            ),
        ),
        migrations.AddConstraint(
            "execution",
            models.CheckConstraint(
                condition=models.Q(tags__isnull=True) | models.Q(tags__len__range=(1, 20)), name="execution_tags_count"
            ),
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    )
