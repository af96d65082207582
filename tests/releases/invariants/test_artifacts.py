"""The database rejects invalid artifacts and blobs."""

import pytest

from releases.models import Release
from tests.releases.invariants.rejecting import rejected_by

pytestmark = pytest.mark.django_db


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


@pytest.mark.parametrize("change", ["size = size + 1", "created_at = now() + interval '1 day'"])
def test_the_digest_and_size_of_a_blob_never_change(release: Release, change: str) -> None:
    assert rejected_by(f"UPDATE releases_blob SET {change}") == "blob_immutable"


def test_an_unknown_state_of_a_blob_is_rejected(release: Release) -> None:
    assert rejected_by("UPDATE releases_blob SET state = 'FINE'") == "blob_state_known"


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
