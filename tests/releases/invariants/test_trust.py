"""The database rejects invalid attachments, trusted keys and signature policies."""

import json
from typing import Any

import pytest

from releases.models import Release
from tests import making
from tests.releases.invariants.rejecting import rejected_by

pytestmark = pytest.mark.django_db

EMPTY = making.digest_of(b"")


def copied(table: str, **changes: Any) -> tuple[str, str]:
    """Return the INSERT of a copy of the newest row of `table`, with another id and `changes`, and its parameter."""
    sql = f"""INSERT INTO {table} SELECT (jsonb_populate_record(r, jsonb_build_object('id', r.id + 1000) || %s)).*
        FROM {table} r ORDER BY r.id DESC LIMIT 1"""
    return sql, json.dumps(changes)


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
