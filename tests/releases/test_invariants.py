"""Invalid changes of pipelines, contracts, releases, artifacts, blobs and activations, which the database rejects."""

import json
from itertools import product
from typing import Any

import pytest
from django.utils import timezone

from releases.activation.activation import activate
from releases.activation.revocation import revoke
from releases.models import (
    Activation,
    Artifact,
    ArtifactUpload,
    Attachment,
    Blob,
    BlobEvent,
    Contract,
    KeyRevocation,
    Pipeline,
    Release,
    Revocation,
    TrustedKey,
)
from releases.registration import attachments
from releases.states import MOVES, UPLOAD_MOVES, Status, UploadStatus
from releases.trust import trusted_keys
from tests import making, signing
from tests.raw_sql import check_foreign_keys_now, refused, rows, run, unguarded

pytestmark = pytest.mark.django_db

TRUST = (Attachment, TrustedKey, KeyRevocation)
TABLES = (Pipeline, Contract, Release, Artifact, ArtifactUpload, Blob, BlobEvent, Activation, Revocation, *TRUST)


@pytest.fixture
def release() -> Release:
    made = making.active(making.tenant())
    BlobEvent.objects.create(digest=made.artifacts.get().digest, kind=BlobEvent.Kind.DAMAGED)
    revoke(making.registered(made.pipeline.tenant, "0.1"), actor="user:test", reason="leaked")
    attachments.attach(made, [signing.envelope(made.descriptor)], actor="user:test")
    signing.trusted(made.pipeline.tenant, "new")
    trusted_keys.revoke(signing.trusted(made.pipeline.tenant, "old"), actor="user:test", reason="left")
    check_foreign_keys_now()
    return made


def rejected_by(sql: str, *parameters: Any) -> str:
    """Return the constraint that rejects `sql`, which changes nothing."""
    before = [rows(table) for table in TABLES]
    name = refused(sql, *parameters)
    assert [rows(table) for table in TABLES] == before
    return name


# --- history and documents are permanent ---


@pytest.mark.parametrize(
    ("sql", "constraint"),
    [
        ("UPDATE releases_activation SET reason = 'forged'", "activation_append_only"),
        ("UPDATE releases_activation SET actor = 'somebody'", "activation_append_only"),
        ("UPDATE releases_activation SET activated_at = now()", "activation_append_only"),
        ("DELETE FROM releases_activation", "activation_append_only"),
        ("TRUNCATE releases_activation CASCADE", "activation_not_truncated"),
        ("UPDATE releases_contract SET document = '{}'", "contract_immutable"),
        ("DELETE FROM releases_contract", "contract_immutable"),
        ("TRUNCATE releases_contract CASCADE", "contract_not_truncated"),
        ("UPDATE releases_artifact SET digest = 'sha256:0'", "artifact_immutable"),
        ("UPDATE releases_artifact SET blob_id = NULL", "artifact_immutable"),
        ("DELETE FROM releases_artifact", "artifact_immutable"),
        ("TRUNCATE releases_artifact", "artifact_not_truncated"),
        ("UPDATE releases_blobevent SET kind = 'HEALED'", "blob_event_append_only"),
        ("DELETE FROM releases_blobevent", "blob_event_append_only"),
        ("TRUNCATE releases_blobevent", "blob_event_not_truncated"),
        ("DELETE FROM releases_blob", "blob_not_deleted"),
        ("TRUNCATE releases_blob CASCADE", "blob_not_truncated"),
        ("UPDATE releases_revocation SET reason = 'forged'", "revocation_append_only"),
        ("DELETE FROM releases_revocation", "revocation_append_only"),
        ("TRUNCATE releases_revocation", "revocation_not_truncated"),
        ("UPDATE releases_attachment SET content = '{}'", "attachment_append_only"),
        ("UPDATE releases_attachment SET findings = '[]'", "attachment_append_only"),
        ("DELETE FROM releases_attachment", "attachment_append_only"),
        ("TRUNCATE releases_attachment", "attachment_not_truncated"),
        ("UPDATE releases_trustedkey SET name = 'other'", "trusted_key_append_only"),
        ("UPDATE releases_trustedkey SET public_key = 'other'", "trusted_key_append_only"),
        ("DELETE FROM releases_trustedkey", "trusted_key_append_only"),
        ("TRUNCATE releases_trustedkey CASCADE", "trusted_key_not_truncated"),
        ("UPDATE releases_keyrevocation SET reason = 'forged'", "key_revocation_append_only"),
        ("DELETE FROM releases_keyrevocation", "key_revocation_append_only"),
        ("TRUNCATE releases_keyrevocation", "key_revocation_not_truncated"),
        ("DELETE FROM releases_release", "release_not_deleted"),
        ("TRUNCATE releases_release CASCADE", "release_not_truncated"),
    ],
)
def test_nothing_is_changed_or_removed(release: Release, sql: str, constraint: str) -> None:
    """`refuse_change` reports the name of the trigger. TRUNCATE fires that of the first table that it cascades to."""
    found = rejected_by(sql)
    assert found == constraint or ("CASCADE" in sql and found.endswith("_not_truncated"))


# --- trust ---


def copied(table: str, **changes: Any) -> tuple[str, str]:
    """Insert a copy of the newest row of `table` with another id and with `changes`."""
    sql = f"""INSERT INTO {table} SELECT (jsonb_populate_record(r, jsonb_build_object('id', r.id + 1000) || %s)).*
        FROM {table} r ORDER BY r.id DESC LIMIT 1"""
    return sql, json.dumps(changes)


EMPTY = making.digest_of(b"")


@pytest.mark.parametrize(
    ("table", "changes", "constraint"),
    [
        ("attachment", {"position": 1}, "attachment_once"),
        ("attachment", {"digest": EMPTY, "content": "\\x"}, "attachment_position_once"),
        ("attachment", {"position": 1, "digest": EMPTY}, "attachment_digest_of_content"),
        ("attachment", {"position": 1, "content": "\\x7b7d"}, "attachment_digest_of_content"),
        ("attachment", {"position": 32, "digest": EMPTY, "content": "\\x"}, "attachment_not_too_many"),
        ("attachment", {"position": 1, "digest": EMPTY, "content": "\\x", "kind": "seal"}, "attachment_kind_known"),
        ("trustedkey", {"name": "other"}, "trusted_key_once"),
        ("trustedkey", {"key_id": "0" * 64}, "trusted_key_name_once"),
        ("trustedkey", {"key_id": "0" * 63, "name": "other"}, "trusted_key_id_well_formed"),
        ("trustedkey", {"key_id": "0" * 64, "name": " "}, "trusted_key_name_not_blank"),
        ("keyrevocation", {"reason": "again"}, "releases_keyrevocation_key_id_key"),
        ("keyrevocation", {"reason": " "}, "key_revocation_says_why"),
    ],
)
def test_the_database_rejects_invalid_keys_and_attachments(
    release: Release, table: str, changes: dict[str, Any], constraint: str
) -> None:
    assert rejected_by(*copied(f"releases_{table}", **changes)) == constraint


def test_the_size_of_an_attachment_is_limited(release: Release) -> None:
    content = b" " * (8 * 1024 * 1024 + 1)
    sql = """INSERT INTO releases_attachment (release_id, position, kind, digest, content, summary, findings,
        attached_by, attached_at) VALUES (%s, 1, 'sbom', %s, %s, '{}', '[]', 'x', now())"""
    assert rejected_by(sql, release.pk, making.digest_of(content), content) == "attachment_not_too_large"


def test_an_unknown_signature_policy_is_rejected(release: Release) -> None:
    sql = "UPDATE releases_pipeline SET signature_policy = 'perhaps'"
    assert rejected_by(sql) == "pipeline_signature_policy_known"


# --- a release ---


@pytest.mark.parametrize(
    "change",
    [
        "pipeline_id = pipeline_id + 1",
        "contract_version = 'other'",
        "release_version = 'other'",
        "descriptor = '{}'",
        "uploaded_by = 'other'",
        "created_at = now() + interval '1 day'",
        "id = id + 1000",
    ],
)
def test_a_release_is_immutable(release: Release, change: str) -> None:
    assert rejected_by(f"UPDATE releases_release SET {change} WHERE id = %s", release.pk) == "release_immutable"


@pytest.mark.parametrize("change", ["findings = '[1]'", "contract_id = NULL", "primary_artifact_id = 'other'"])
def test_a_verdict_is_written_once(release: Release, change: str) -> None:
    assert rejected_by(f"UPDATE releases_release SET {change} WHERE id = %s", release.pk) == "release_verdict_once"


def test_the_time_of_a_verdict_never_changes(release: Release) -> None:
    sql = "UPDATE releases_release SET status_changed_at = now() + interval '1 day' WHERE id = %s"
    assert rejected_by(sql, release.pk) == "release_verdict_time"


@pytest.mark.parametrize(("source", "target"), list(product(Status, Status)))
def test_the_trigger_allows_the_same_moves_as_the_table(release: Release, source: Status, target: Status) -> None:
    """For every pair of statuses, the trigger allows exactly the moves in `MOVES`."""
    with unguarded(Release), unguarded(Revocation):
        run("UPDATE releases_release SET status = %s WHERE id = %s", source, release.pk)
        run("INSERT INTO releases_revocation (release_id, actor, reason) VALUES (%s, '', 'why')", release.pk)
    sql = "UPDATE releases_release SET status = %s WHERE id = %s"
    if source is target or target in MOVES[source]:
        run(sql, target, release.pk)
        assert Release.objects.get(pk=release.pk).status == target
    else:
        assert rejected_by(sql, target, release.pk) == "release_legal_move"


def test_an_unknown_status_is_rejected(release: Release) -> None:
    sql = """INSERT INTO releases_release SELECT (jsonb_populate_record(r, jsonb_build_object(
        'id', r.id + 1000, 'release_version', 'other', 'status', 'READY'))).* FROM releases_release r WHERE id = %s"""
    assert rejected_by(sql, release.pk) == "release_status_known"


def test_a_version_has_one_release_that_is_not_rejected(release: Release) -> None:
    sql = """INSERT INTO releases_release SELECT (jsonb_populate_record(r, jsonb_build_object(
        'id', r.id + 1000, 'status', '{status}'))).* FROM releases_release r WHERE id = %s"""
    for status in (status for status in Status if status is not Status.REJECTED):
        assert rejected_by(sql.format(status=status), release.pk) == "release_once"
    assert rejected_by(sql.format(status="REJECTED"), release.pk) == "release_starts"


def test_the_contract_of_a_release_is_of_its_own_pipeline_and_version(release: Release) -> None:
    other = making.registered(release.pipeline.tenant, pipeline_id="org.example.other")
    changed = making.registered(release.pipeline.tenant, "2.0", module="another")
    check_foreign_keys_now()
    assert other.contract_id
    assert changed.contract_id not in {None, release.contract_id}
    run("ALTER TABLE releases_release DISABLE TRIGGER release_guard")
    run("UPDATE releases_release SET status = 'VERIFYING', contract_id = NULL WHERE id = %s", release.pk)
    run("ALTER TABLE releases_release ENABLE TRIGGER release_guard")
    sql = "UPDATE releases_release SET contract_id = %s, status = 'REGISTERED' WHERE id = %s"
    assert rejected_by(sql, other.contract_id, release.pk) == "release_own_contract"
    assert rejected_by(sql, changed.contract_id, release.pk) == "release_own_contract"
    run(sql, release.contract_id, release.pk)


# --- an activation, and the pointer to the newest ---

ACTIVATION = """INSERT INTO releases_activation
    (pipeline_id, sequence, release_id, previous_id, actor, reason, operation_key, activated_at)
    VALUES (%s, %s, %s, %s, '', '', %s, now())"""


def test_an_activation_names_a_registered_release_of_its_own_pipeline(release: Release) -> None:
    other = making.registered(release.pipeline.tenant, pipeline_id="org.example.other")
    contract = making.contract()
    uploaded = making.upload(release.pipeline.tenant, making.descriptor(contract, b"", "3.0")).release
    for named in (other, uploaded):
        parameters = (release.pipeline_id, 2, named.pk, release.pk, None)
        assert rejected_by(ACTIVATION, *parameters) == "activation_own_release"


@pytest.mark.parametrize("sequence", [0, 1, 3])
def test_an_activation_follows_the_newest_without_a_gap(release: Release, sequence: int) -> None:
    parameters = (release.pipeline_id, sequence, release.pk, release.pk, None)
    assert rejected_by(ACTIVATION, *parameters) == "activation_in_sequence"


def test_an_activation_names_what_it_replaced(release: Release) -> None:
    second = making.registered(release.pipeline.tenant, "2.0")
    for previous in (None, second.pk):
        parameters = (release.pipeline_id, 2, second.pk, previous, None)
        assert rejected_by(ACTIVATION, *parameters) == "activation_in_sequence"
    activate(second, actor="")
    assert rejected_by(ACTIVATION, release.pipeline_id, 2, second.pk, release.pk, None) == "activation_in_sequence"


def test_an_operation_key_is_used_once_in_a_pipeline(release: Release) -> None:
    activate(release, actor="", operation_key="k")
    parameters = (release.pipeline_id, 3, release.pk, release.pk, "k")
    assert rejected_by(ACTIVATION, *parameters) == "activation_operation_once"


@pytest.mark.parametrize("constraint", ["activation_sequence_once", "activation_sequence_from_one"])
def test_without_the_trigger_the_sequence_is_still_kept(release: Release, constraint: str) -> None:
    sequence = 1 if constraint == "activation_sequence_once" else 0
    run("ALTER TABLE releases_activation DISABLE TRIGGER activation_guard")
    parameters = (release.pipeline_id, sequence, release.pk, release.pk, None)
    assert rejected_by(ACTIVATION, *parameters) == constraint


def test_the_pointer_names_the_newest_activation_and_no_other(release: Release) -> None:
    activate(release, actor="")
    first = Activation.objects.get(pipeline=release.pipeline, sequence=1)
    sql = "UPDATE releases_pipeline SET activation_id = %s WHERE id = %s"
    for pointer in (first.pk, None):
        assert rejected_by(sql, pointer, release.pipeline_id) == "pipeline_newest_activation"


def test_an_activation_moves_the_pointer_before_the_commit(release: Release) -> None:
    activation = f"{ACTIVATION}; SET CONSTRAINTS ALL IMMEDIATE"
    parameters = (release.pipeline_id, 2, release.pk, release.pk, None)
    assert rejected_by(activation, *parameters) == "activation_moves_pointer"
    activate(release, actor="")
    check_foreign_keys_now()


@pytest.mark.parametrize("change", ["pipeline_id = 'other'", "tenant_id = tenant_id + 1", "id = id + 1000"])
def test_a_pipelines_tenant_and_name_never_change(release: Release, change: str) -> None:
    sql = f"UPDATE releases_pipeline SET {change} WHERE id = %s"
    assert rejected_by(sql, release.pipeline_id) == "pipeline_immutable"


def test_a_new_pipeline_has_no_activation(release: Release) -> None:
    sql = """INSERT INTO releases_pipeline (
            tenant_id, pipeline_id, reason_required, validate_answers, activation_id, created_at)
        SELECT tenant_id, 'other', false, true, activation_id, now() FROM releases_pipeline WHERE id = %s"""
    assert rejected_by(sql, release.pipeline_id) == "pipeline_newest_activation"


# --- one row at a time ---

PIPELINE = """INSERT INTO releases_pipeline
        (tenant_id, pipeline_id, reason_required, signature_policy, validate_answers, created_at)
    SELECT tenant_id, {name}, false, 'off', true, now() FROM releases_pipeline WHERE id = %s"""


@pytest.mark.parametrize("change", ["retry_delay_seconds = -0.1", "retry_multiplier = 0.9"])
def test_the_retry_settings_of_a_pipeline_are_in_range(release: Release, change: str) -> None:
    sql = f"UPDATE releases_pipeline SET {change} WHERE id = %s"
    assert rejected_by(sql, release.pipeline_id) == "pipeline_retries_sane"


@pytest.mark.parametrize(
    ("name", "constraint"),
    [("pipeline_id", "pipeline_once"), ("''", "pipeline_id_not_blank"), (r"E' \t\n'", "pipeline_id_not_blank")],
)
def test_a_pipelines_name_is_not_blank_and_used_once_in_a_tenant(release: Release, name: str, constraint: str) -> None:
    assert rejected_by(PIPELINE.format(name=name), release.pipeline_id) == constraint


def test_a_contract_version_has_one_document(release: Release) -> None:
    sql = """INSERT INTO releases_contract (pipeline_id, contract_version, document, created_at)
        SELECT pipeline_id, contract_version, '{}', now() FROM releases_contract WHERE id = %s"""
    assert rejected_by(sql, release.contract_id) == "contract_once"


@pytest.mark.parametrize(
    ("digest", "size", "constraint"),
    [
        ("sha256:" + "0" * 63, 0, "blob_digest_well_formed"),
        ("sha256:" + "A" * 64, 0, "blob_digest_well_formed"),
        ("sha512:" + "0" * 64, 0, "blob_digest_well_formed"),
        ("sha256:" + "0" * 63 + "/", 0, "blob_digest_well_formed"),
        ("sha256:" + "0" * 64, -1, "blob_size_not_negative"),
    ],
)
def test_a_blob_has_a_valid_digest_and_size(digest: str, size: int, constraint: str) -> None:
    sql = """INSERT INTO releases_blob (digest, size, state, fingerprint, created_at, checked_at)
        VALUES (%s, %s, 'SOUND', '', now(), now())"""
    assert rejected_by(sql, digest, size) == constraint


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("'position', 0", "artifact_position_once"),
        ("'position', 9, 'digest', 'sha256:0'", "artifact_blob_is_its_digest"),
    ],
)
def test_an_artifact_has_a_unique_position_and_its_own_bytes(release: Release, change: str, constraint: str) -> None:
    sql = f"""INSERT INTO releases_artifact SELECT (jsonb_populate_record(a, jsonb_build_object(
        'id', a.id + 1000, {change}))).* FROM releases_artifact a WHERE release_id = %s"""
    assert rejected_by(sql, release.pk) == constraint


def test_the_database_requires_the_reason_of_a_revocation(release: Release) -> None:
    sql = "INSERT INTO releases_revocation (release_id, actor, reason, revoked_at) VALUES (%s, '', ' ', now())"
    assert rejected_by(sql, release.pk) == "revocation_says_why"


@pytest.mark.parametrize("change", ["size = size + 1", "created_at = now() + interval '1 day'"])
def test_the_digest_and_size_of_a_blob_never_change(release: Release, change: str) -> None:
    assert rejected_by(f"UPDATE releases_blob SET {change}") == "blob_immutable"


def test_an_unknown_state_of_a_blob_is_rejected(release: Release) -> None:
    assert rejected_by("UPDATE releases_blob SET state = 'FINE'") == "blob_state_known"


@pytest.fixture
def upload() -> ArtifactUpload:
    made = ArtifactUpload.objects.create(
        tenant=making.tenant(),
        digest="sha256:" + "0" * 64,
        size=1,
        part_size=1,
        status="OPEN",
        expires_at=timezone.now(),
    )
    check_foreign_keys_now()
    return made


@pytest.mark.parametrize(
    "change",
    [
        *("size = 2", "part_size = 2", "digest = 'sha256:" + "1" * 64 + "'", "uploaded_by = 'somebody'"),
        *(
            "created_at = now() + interval '1 day'",
            "id = '00000000-0000-4000-8000-000000000000'",
            "tenant_id = tenant_id + 1",
        ),
    ],
)
def test_the_declaration_of_an_upload_never_changes(upload: ArtifactUpload, change: str) -> None:
    sql = f"UPDATE releases_artifactupload SET {change} WHERE id = %s"
    assert rejected_by(sql, upload.pk) == "upload_immutable"


@pytest.mark.parametrize("change", ["finding = '{}'", "storage_id = 'other'", "expires_at = now()", "cleared = false"])
def test_a_finished_upload_changes_only_by_being_cleared(upload: ArtifactUpload, change: str) -> None:
    for status, cleared in (("VERIFYING", False), ("REJECTED", False), ("REJECTED", True)):
        run("UPDATE releases_artifactupload SET status = %s, cleared = %s WHERE id = %s", status, cleared, upload.pk)
    assert rejected_by(f"UPDATE releases_artifactupload SET {change} WHERE id = %s", upload.pk) == "upload_finished"


@pytest.mark.parametrize(
    ("sql", "constraint"),
    [
        ("DELETE FROM releases_artifactupload", "upload_not_deleted"),
        ("TRUNCATE releases_artifactupload", "upload_not_truncated"),
    ],
)
def test_an_upload_is_not_removed(upload: ArtifactUpload, sql: str, constraint: str) -> None:
    assert rejected_by(sql) == constraint


@pytest.mark.parametrize(("source", "target"), list(product(UploadStatus, UploadStatus)))
def test_the_trigger_allows_the_same_moves_of_uploads_as_the_table(
    upload: ArtifactUpload, source: UploadStatus, target: UploadStatus
) -> None:
    run("ALTER TABLE releases_artifactupload DISABLE TRIGGER upload_guard")
    run("UPDATE releases_artifactupload SET status = %s WHERE id = %s", source, upload.pk)
    run("ALTER TABLE releases_artifactupload ENABLE TRIGGER upload_guard")
    sql = "UPDATE releases_artifactupload SET status = %s WHERE id = %s"
    if source is target or target in UPLOAD_MOVES[source]:
        run(sql, target, upload.pk)
        assert ArtifactUpload.objects.get(pk=upload.pk).status == target
    else:
        assert rejected_by(sql, target, upload.pk) == "upload_legal_move"


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ("", "upload_live_once"),
        ("'status', 'VERIFYING'", "upload_live_once"),
        ("'status', 'READY'", "upload_status_known"),
        ("'size', 0", "upload_size_positive"),
        ("'part_size', 0", "upload_size_positive"),
        ("'digest', 'sha256:0'", "upload_digest_well_formed"),
        ("'size', 2, 'finding', '{}'::jsonb", "upload_finding_of_rejected"),
    ],
)
def test_an_upload_is_valid_and_only_one_is_live(upload: ArtifactUpload, changes: str, constraint: str) -> None:
    sql = f"""INSERT INTO releases_artifactupload SELECT (jsonb_populate_record(u, jsonb_build_object(
        'id', gen_random_uuid() {"," if changes else ""} {changes}))).* FROM releases_artifactupload u WHERE id = %s"""
    assert rejected_by(sql, upload.pk) == constraint
