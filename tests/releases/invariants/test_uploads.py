"""The database rejects invalid direct uploads, and changes of their declarations."""

from itertools import product

import pytest
from django.utils import timezone

from releases.models import ArtifactUpload
from releases.states import UPLOAD_MOVES, UploadStatus
from tests import making
from tests.raw_sql import check_foreign_keys_now, run
from tests.releases.invariants.rejecting import rejected_by

pytestmark = pytest.mark.django_db


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
        *("size = 2", "part_size = 2", "digest = 'sha256:" + "1" * 64 + "'", "uploaded_by = 'another person'"),
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
