"""A release keeps what its artifacts declare besides its contract. It is written once, with the verdict."""

from django.db import migrations, models

GUARDS = """
DROP TRIGGER release_starts ON releases_release;
CREATE TRIGGER release_starts AFTER INSERT ON releases_release
    FOR EACH ROW WHEN ((NEW.created_at = now() AND NEW.status_changed_at = now() AND NEW.status = 'UPLOADED'
        AND NEW.contract_id IS NULL AND NEW.primary_artifact_id = '' AND NEW.environments = '{}' AND NOT NEW.checkpoints
        AND NEW.declarations = '{}' AND NEW.progress = '{}') IS NOT TRUE) EXECUTE FUNCTION refuse_insert();
CREATE OR REPLACE FUNCTION guard_release() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF (NEW.id, NEW.pipeline_id, NEW.contract_version, NEW.release_version, NEW.descriptor, NEW.descriptor_document, NEW.descriptor_digest, NEW.contract_document, NEW.uploaded_by, NEW.created_at)
        IS DISTINCT FROM
        (OLD.id, OLD.pipeline_id, OLD.contract_version, OLD.release_version, OLD.descriptor, OLD.descriptor_document, OLD.descriptor_digest, OLD.contract_document, OLD.uploaded_by, OLD.created_at)
    THEN
        RAISE EXCEPTION 'release %: only its status and verdict can change', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'release_immutable';
    END IF;
    IF NEW.status <> OLD.status AND (OLD.status || '>' || NEW.status) <> ALL (ARRAY[
        'UPLOADED>VERIFYING', 'VERIFYING>REGISTERED', 'VERIFYING>REJECTED', 'REGISTERED>REVOKED',
        'REGISTERED>RETIRED'])
    THEN
        RAISE EXCEPTION 'release %: there is no move from % to %', OLD.id, OLD.status, NEW.status
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'release_legal_move';
    END IF;
    IF (OLD.status <> 'VERIFYING' OR NEW.status = OLD.status)
        AND (NEW.findings, NEW.contract_id, NEW.primary_artifact_id, NEW.environments, NEW.checkpoints, NEW.declarations)
        IS DISTINCT FROM (OLD.findings, OLD.contract_id, OLD.primary_artifact_id, OLD.environments, OLD.checkpoints, OLD.declarations)
    THEN
        RAISE EXCEPTION 'release %: findings, contract, primary artifact, environments, checkpoints and declarations are written only with the verdict', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'release_verdict_once';
    END IF;
    IF NEW.status = OLD.status AND OLD.status NOT IN ('UPLOADED', 'VERIFYING')
        AND NEW.status_changed_at <> OLD.status_changed_at
    THEN
        RAISE EXCEPTION 'release %: the time of its verdict never changes', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'release_verdict_time';
    END IF;
    IF NEW.contract_id IS NOT NULL AND NOT EXISTS (
        SELECT FROM releases_contract c WHERE c.id = NEW.contract_id
            AND c.pipeline_id = NEW.pipeline_id AND c.contract_version = NEW.contract_version)
    THEN
        RAISE EXCEPTION 'release %: the contract belongs to another pipeline or version', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'release_own_contract';
    END IF;
    RETURN NEW;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = (("releases", "0006_notify_channel"),)
    operations = (
        migrations.AddField(
            "release",
            "declarations",
            models.JSONField(db_default={}, default=dict, help_text="What the artifacts declare besides the contract."),
        ),
        migrations.RunSQL(GUARDS),
    )
