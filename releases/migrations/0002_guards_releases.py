"""Guards of releases, of what they pin, and of their revocations and retirements."""

from django.db import migrations

CHANGES = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% of % is rejected: its rows are never changed or removed', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
END $$;
"""
BLOBS = """
CREATE TRIGGER blob_starts AFTER INSERT ON releases_blob
    FOR EACH ROW WHEN ((NEW.created_at = now() AND NEW.checked_at = now() AND NEW.state IN ('SOUND', 'REMOVED')
        AND NEW.checking_until IS NULL) IS NOT TRUE) EXECUTE FUNCTION refuse_insert();

CREATE FUNCTION guard_blob() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF (NEW.digest, NEW.size, NEW.created_at) IS DISTINCT FROM (OLD.digest, OLD.size, OLD.created_at) THEN
        RAISE EXCEPTION 'blob %: its digest, size and time of creation never change', OLD.digest
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'blob_immutable';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER blob_guard BEFORE UPDATE ON releases_blob FOR EACH ROW EXECUTE FUNCTION guard_blob();
CREATE TRIGGER blob_not_deleted BEFORE DELETE ON releases_blob FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER blob_not_truncated BEFORE TRUNCATE ON releases_blob FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The events DAMAGED, MISSING and HEALED are written before the blob's state changes, so they must name a different
-- state. REMOVED is written after the change.
CREATE FUNCTION guard_blob_event() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    present text := (SELECT b.state FROM releases_blob b WHERE b.digest = NEW.digest);
BEGIN
    IF (CASE NEW.kind WHEN 'HEALED' THEN present <> 'SOUND' WHEN 'REMOVED' THEN present = 'REMOVED'
        ELSE present <> NEW.kind END) IS NOT TRUE
    THEN
        RAISE EXCEPTION 'blob %: it is %, so the event % is not allowed', NEW.digest, present, NEW.kind
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER blob_event_of_change AFTER INSERT ON releases_blobevent FOR EACH ROW EXECUTE FUNCTION guard_blob_event();
CREATE TRIGGER blob_event_starts AFTER INSERT ON releases_blobevent
    FOR EACH ROW WHEN ((NEW.at = now()) IS NOT TRUE) EXECUTE FUNCTION refuse_insert();
CREATE TRIGGER blob_event_append_only BEFORE UPDATE OR DELETE ON releases_blobevent
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER blob_event_not_truncated BEFORE TRUNCATE ON releases_blobevent
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
UPLOADS = """
CREATE TRIGGER upload_starts AFTER INSERT ON releases_artifactupload
    FOR EACH ROW WHEN ((NEW.created_at = now() AND NEW.status_changed_at = now() AND NEW.status = 'OPEN'
        AND NEW.storage_id = '' AND NEW.finding IS NULL AND NEW.claimed_at IS NULL AND NOT NEW.cleared) IS NOT TRUE)
    EXECUTE FUNCTION refuse_insert();

CREATE FUNCTION guard_artifact_upload() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF (NEW.id, NEW.tenant_id, NEW.digest, NEW.size, NEW.part_size, NEW.uploaded_by, NEW.created_at) IS DISTINCT FROM
        (OLD.id, OLD.tenant_id, OLD.digest, OLD.size, OLD.part_size, OLD.uploaded_by, OLD.created_at)
    THEN
        RAISE EXCEPTION 'upload %: its tenant, digest, sizes, uploader and time of creation never change', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'upload_immutable';
    END IF;
    IF NEW.status <> OLD.status AND (OLD.status || '>' || NEW.status) <> ALL (ARRAY[
        'OPEN>VERIFYING', 'OPEN>EXPIRED', 'VERIFYING>STORED', 'VERIFYING>REJECTED'])
    THEN
        RAISE EXCEPTION 'upload %: there is no move from % to %', OLD.id, OLD.status, NEW.status
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'upload_legal_move';
    END IF;
    IF NEW.status = OLD.status AND OLD.status IN ('STORED', 'REJECTED', 'EXPIRED')
        AND ((NEW.finding, NEW.storage_id, NEW.expires_at, NEW.status_changed_at, NEW.claimed_at) IS DISTINCT FROM
            (OLD.finding, OLD.storage_id, OLD.expires_at, OLD.status_changed_at, OLD.claimed_at) OR (OLD.cleared AND NOT NEW.cleared))
    THEN
        RAISE EXCEPTION 'upload %: it is finished, so only its staging key can be cleared', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'upload_finished';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER upload_guard BEFORE UPDATE ON releases_artifactupload FOR EACH ROW EXECUTE FUNCTION guard_artifact_upload();
CREATE TRIGGER upload_not_deleted BEFORE DELETE ON releases_artifactupload
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER upload_not_truncated BEFORE TRUNCATE ON releases_artifactupload
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
TRUSTED_KEYS = """
CREATE TRIGGER trusted_key_starts AFTER INSERT ON releases_trustedkey
    FOR EACH ROW WHEN ((NEW.added_at = now()) IS NOT TRUE) EXECUTE FUNCTION refuse_insert();
CREATE TRIGGER trusted_key_append_only BEFORE UPDATE OR DELETE ON releases_trustedkey
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER trusted_key_not_truncated BEFORE TRUNCATE ON releases_trustedkey
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER key_revocation_starts AFTER INSERT ON releases_keyrevocation
    FOR EACH ROW WHEN ((NEW.revoked_at = now()) IS NOT TRUE) EXECUTE FUNCTION refuse_insert();
CREATE TRIGGER key_revocation_append_only BEFORE UPDATE OR DELETE ON releases_keyrevocation
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER key_revocation_not_truncated BEFORE TRUNCATE ON releases_keyrevocation
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
RELEASES = """
ALTER TABLE releases_release
    ADD CONSTRAINT release_descriptor_digest_of_document
        CHECK (descriptor_digest = 'sha256:' || encode(sha256(descriptor_document), 'hex')),
    ADD CONSTRAINT release_descriptor_not_too_large CHECK (octet_length(descriptor_document) <= 1048576);
CREATE TRIGGER release_starts AFTER INSERT ON releases_release
    FOR EACH ROW WHEN ((NEW.created_at = now() AND NEW.status_changed_at = now() AND NEW.status = 'UPLOADED'
        AND NEW.contract_id IS NULL AND NEW.primary_artifact_id = '' AND NEW.environments = '{}' AND NOT NEW.checkpoints
        AND NEW.progress = '{}') IS NOT TRUE) EXECUTE FUNCTION refuse_insert();

CREATE FUNCTION guard_release() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
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
        AND (NEW.findings, NEW.contract_id, NEW.primary_artifact_id, NEW.environments, NEW.checkpoints)
        IS DISTINCT FROM (OLD.findings, OLD.contract_id, OLD.primary_artifact_id, OLD.environments, OLD.checkpoints)
    THEN
        RAISE EXCEPTION 'release %: findings, contract, primary artifact, environments and checkpoints are written only with the verdict', OLD.id
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
CREATE TRIGGER release_guard BEFORE UPDATE ON releases_release FOR EACH ROW EXECUTE FUNCTION guard_release();

-- Progress claims nothing that counts, so a verification may write it again.
CREATE FUNCTION guard_progress() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'release %: its progress is written only during its verification', OLD.id
        USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
END $$;
CREATE TRIGGER release_progress_of_verification BEFORE UPDATE ON releases_release FOR EACH ROW
    WHEN (NEW.progress IS DISTINCT FROM OLD.progress AND (OLD.status <> 'VERIFYING' OR NEW.status <> 'VERIFYING'))
    EXECUTE FUNCTION guard_progress();
CREATE TRIGGER release_not_deleted BEFORE DELETE ON releases_release FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER release_not_truncated BEFORE TRUNCATE ON releases_release
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
CONTRACTS = """
CREATE FUNCTION guard_new_contract() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM releases_release r WHERE r.pipeline_id = NEW.pipeline_id
        AND r.contract_version = NEW.contract_version AND r.status = 'VERIFYING')
    THEN
        RAISE EXCEPTION 'contract %: no release in verification has this contract', NEW.contract_version
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER contract_of_verification AFTER INSERT ON releases_contract
    FOR EACH ROW EXECUTE FUNCTION guard_new_contract();
CREATE TRIGGER contract_starts AFTER INSERT ON releases_contract
    FOR EACH ROW WHEN ((NEW.created_at = now()) IS NOT TRUE) EXECUTE FUNCTION refuse_insert();
CREATE TRIGGER contract_immutable BEFORE UPDATE OR DELETE ON releases_contract
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER contract_not_truncated BEFORE TRUNCATE ON releases_contract
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
ARTIFACTS = """
-- True if the bytes were stored in this transaction, or the tenant of the release has sent them before.
CREATE FUNCTION tenant_has_bytes(of_release bigint, wanted text, for_artifact bigint) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
    WITH owner AS (
        SELECT p.tenant_id FROM releases_release r JOIN releases_pipeline p ON p.id = r.pipeline_id WHERE r.id = of_release)
    SELECT EXISTS (SELECT FROM releases_blob b
            WHERE b.digest = wanted AND b.state = 'SOUND' AND b.checked_at >= now())
        OR EXISTS (SELECT FROM releases_artifactupload u
            WHERE u.tenant_id = (SELECT tenant_id FROM owner) AND u.digest = wanted AND u.status = 'STORED')
        OR EXISTS (SELECT FROM releases_artifact a JOIN releases_release r ON r.id = a.release_id
            JOIN releases_pipeline p ON p.id = r.pipeline_id
            WHERE a.blob_id = wanted AND a.id <> for_artifact AND p.tenant_id = (SELECT tenant_id FROM owner))
$$;

-- Artifacts are written in the transaction of the upload, as its descriptor lists them. The tenant must have sent their
-- bytes: earlier, or in this transaction, which then has recorded that the blob is sound.
CREATE FUNCTION guard_new_artifact() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    owner bigint := (SELECT p.tenant_id FROM releases_release r JOIN releases_pipeline p ON p.id = r.pipeline_id
        WHERE r.id = NEW.release_id AND r.status = 'UPLOADED' AND r.created_at = now()
            AND r.descriptor #>> ARRAY['artifacts', NEW.position::text, 'artifactId'] = NEW.artifact_id
            AND r.descriptor #>> ARRAY['artifacts', NEW.position::text, 'digest'] = NEW.digest);
BEGIN
    IF owner IS NULL OR NEW.resolved THEN
        RAISE EXCEPTION 'artifact %: it must be written with the release whose descriptor lists it', NEW.artifact_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'artifact_of_upload';
    END IF;
    IF NEW.blob_id IS NOT NULL AND NOT tenant_has_bytes(NEW.release_id, NEW.blob_id, NEW.id)
    THEN
        RAISE EXCEPTION 'artifact %: the tenant has not sent its bytes', NEW.artifact_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'artifact_bytes_of_tenant';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER artifact_guard AFTER INSERT ON releases_artifact FOR EACH ROW EXECUTE FUNCTION guard_new_artifact();

CREATE FUNCTION guard_artifact() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF (NEW.id, NEW.release_id, NEW.position, NEW.artifact_id, NEW.kind, NEW.uri, NEW.digest, NEW.step_ids, NEW.capabilities)
        IS DISTINCT FROM
        (OLD.id, OLD.release_id, OLD.position, OLD.artifact_id, OLD.kind, OLD.uri, OLD.digest, OLD.step_ids, OLD.capabilities)
        OR OLD.blob_id IS NOT NULL
    THEN
        RAISE EXCEPTION 'artifact %: only its missing bytes can be added', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'artifact_immutable';
    END IF;
    -- The lock keeps the verdict of another transaction from coming first.
    PERFORM FROM releases_release r WHERE r.id = NEW.release_id AND r.status IN ('UPLOADED', 'VERIFYING') FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'artifact %: its release has a verdict', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'artifact_of_verified_release';
    END IF;
    IF NOT tenant_has_bytes(NEW.release_id, NEW.blob_id, NEW.id) THEN
        RAISE EXCEPTION 'artifact %: the tenant has not sent its bytes', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'artifact_bytes_of_tenant';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER artifact_update_guard BEFORE UPDATE ON releases_artifact FOR EACH ROW EXECUTE FUNCTION guard_artifact();
CREATE TRIGGER artifact_not_deleted BEFORE DELETE ON releases_artifact FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER artifact_not_truncated BEFORE TRUNCATE ON releases_artifact
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
ATTACHMENTS = """
ALTER TABLE releases_attachment
    ADD CONSTRAINT attachment_digest_of_content CHECK (digest = 'sha256:' || encode(sha256(content), 'hex')),
    ADD CONSTRAINT attachment_not_too_large CHECK (octet_length(content) <= 8388608);

CREATE FUNCTION guard_new_attachment() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM releases_release r
        WHERE r.id = NEW.release_id AND r.status IN ('UPLOADED', 'VERIFYING', 'REGISTERED'))
    THEN
        RAISE EXCEPTION 'release %: it was rejected, revoked or retired, so it accepts no attachments', NEW.release_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'attachment_of_usable_release';
    END IF;
    IF NEW.position <> (SELECT count(*) FROM releases_attachment a
        WHERE a.release_id = NEW.release_id AND a.position < NEW.position)
    THEN
        RAISE EXCEPTION 'release %: the positions of its attachments must have no gap', NEW.release_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'attachment_in_sequence';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER attachment_guard AFTER INSERT ON releases_attachment
    FOR EACH ROW EXECUTE FUNCTION guard_new_attachment();
CREATE TRIGGER attachment_starts AFTER INSERT ON releases_attachment
    FOR EACH ROW WHEN ((NEW.attached_at = now()) IS NOT TRUE) EXECUTE FUNCTION refuse_insert();
CREATE TRIGGER attachment_append_only BEFORE UPDATE OR DELETE ON releases_attachment
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER attachment_not_truncated BEFORE TRUNCATE ON releases_attachment
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
REVOCATIONS = """
-- A release is REVOKED if and only if it has a revocation.
CREATE FUNCTION guard_new_revocation() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM releases_release r WHERE r.id = NEW.release_id AND r.status = 'REVOKED') THEN
        RAISE EXCEPTION 'release %: it must be REVOKED before its revocation is written', NEW.release_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER revocation_of_revoked AFTER INSERT ON releases_revocation
    FOR EACH ROW EXECUTE FUNCTION guard_new_revocation();
CREATE TRIGGER revocation_starts AFTER INSERT ON releases_revocation
    FOR EACH ROW WHEN ((NEW.revoked_at = now() AND NEW.failed_executions = 0 AND NEW.completed_at IS NULL) IS NOT TRUE)
    EXECUTE FUNCTION refuse_insert();

CREATE FUNCTION guard_revoked() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM releases_revocation r WHERE r.release_id = NEW.id) THEN
        RAISE EXCEPTION 'release %: its revocation must be written in the transaction that revokes it', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER release_revoked_with_reason AFTER UPDATE OF status ON releases_release
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.status = 'REVOKED') EXECUTE FUNCTION guard_revoked();

-- A revocation changes only by the progress of its order: the count grows until the order is complete.
CREATE FUNCTION guard_revocation() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF (NEW.id, NEW.release_id, NEW.actor, NEW.reason, NEW.revoked_at, NEW.open_executions)
        IS DISTINCT FROM (OLD.id, OLD.release_id, OLD.actor, OLD.reason, OLD.revoked_at, OLD.open_executions)
        OR OLD.open_executions <> 'fail' OR OLD.completed_at IS NOT NULL OR NEW.completed_at <> now()
        OR NEW.failed_executions < OLD.failed_executions
    THEN
        RAISE EXCEPTION 'revocation %: only the progress of its order can change', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER revocation_guard BEFORE UPDATE ON releases_revocation FOR EACH ROW EXECUTE FUNCTION guard_revocation();
CREATE TRIGGER revocation_append_only BEFORE DELETE ON releases_revocation
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER revocation_not_truncated BEFORE TRUNCATE ON releases_revocation
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
RETIREMENTS = """
-- A release is RETIRED if and only if it has a retirement, and the active release is never retired.
CREATE FUNCTION guard_new_retirement() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM releases_release r WHERE r.id = NEW.release_id AND r.status = 'RETIRED') THEN
        RAISE EXCEPTION 'release %: it must be RETIRED before its retirement is written', NEW.release_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER retirement_of_retired AFTER INSERT ON releases_retirement
    FOR EACH ROW EXECUTE FUNCTION guard_new_retirement();
CREATE TRIGGER retirement_starts AFTER INSERT ON releases_retirement
    FOR EACH ROW WHEN ((NEW.retired_at = now()) IS NOT TRUE) EXECUTE FUNCTION refuse_insert();

CREATE FUNCTION guard_retired() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM releases_retirement r WHERE r.release_id = NEW.id) THEN
        RAISE EXCEPTION 'release %: its retirement must be written in the transaction that retires it', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'release_retired_with_reason';
    END IF;
    IF EXISTS (SELECT FROM releases_pipeline p JOIN releases_activation a ON a.id = p.activation_id
        WHERE p.id = NEW.pipeline_id AND a.release_id = NEW.id)
    THEN
        RAISE EXCEPTION 'release %: it is active, so it cannot be retired', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'release_retired_is_not_active';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER release_retired_with_reason AFTER UPDATE OF status ON releases_release
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.status = 'RETIRED') EXECUTE FUNCTION guard_retired();
CREATE TRIGGER retirement_append_only BEFORE UPDATE OR DELETE ON releases_retirement
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER retirement_not_truncated BEFORE TRUNCATE ON releases_retirement
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = (("releases", "0001_tables"), ("tenancy", "0002_guards"))
    operations = (
        migrations.RunSQL(CHANGES),
        migrations.RunSQL(BLOBS),
        migrations.RunSQL(UPLOADS),
        migrations.RunSQL(TRUSTED_KEYS),
        migrations.RunSQL(RELEASES),
        migrations.RunSQL(CONTRACTS),
        migrations.RunSQL(ARTIFACTS),
        migrations.RunSQL(ATTACHMENTS),
        migrations.RunSQL(REVOCATIONS),
        migrations.RunSQL(RETIREMENTS),
    )
