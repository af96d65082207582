"""The database keeps the history and the documents: rows are neither changed nor removed."""

import pytest

from releases.models import Release
from tests.releases.invariants.rejecting import rejected_by

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("sql", "constraint"),
    [
        ("UPDATE releases_activation SET reason = 'forged'", "activation_append_only"),
        ("UPDATE releases_activation SET actor = 'another person'", "activation_append_only"),
        ("UPDATE releases_activation SET activated_at = now()", "activation_append_only"),
        ("DELETE FROM releases_activation", "activation_append_only"),
        ("TRUNCATE releases_activation CASCADE", "activation_not_truncated"),
        ("UPDATE releases_contract SET document = '{}'", "contract_immutable"),
        ("DELETE FROM releases_contract", "contract_immutable"),
        ("TRUNCATE releases_contract CASCADE", "contract_not_truncated"),
        ("UPDATE releases_artifact SET digest = 'sha256:0'", "artifact_immutable"),
        ("UPDATE releases_artifact SET blob_id = NULL", "artifact_immutable"),
        ("DELETE FROM releases_artifact", "artifact_not_deleted"),
        ("TRUNCATE releases_artifact", "artifact_not_truncated"),
        ("UPDATE releases_blobevent SET kind = 'HEALED'", "blob_event_append_only"),
        ("DELETE FROM releases_blobevent", "blob_event_append_only"),
        ("TRUNCATE releases_blobevent", "blob_event_not_truncated"),
        ("DELETE FROM releases_blob", "blob_not_deleted"),
        ("TRUNCATE releases_blob CASCADE", "blob_not_truncated"),
        ("UPDATE releases_revocation SET reason = 'forged'", "revocation_guard"),
        ("UPDATE releases_revocation SET failed_executions = 1", "revocation_guard"),
        ("UPDATE releases_retirement SET reason = 'forged'", "retirement_append_only"),
        ("DELETE FROM releases_retirement", "retirement_append_only"),
        ("TRUNCATE releases_retirement", "retirement_not_truncated"),
        ("DELETE FROM releases_revocation", "revocation_append_only"),
        ("TRUNCATE releases_revocation", "revocation_not_truncated"),
        ("UPDATE releases_deployment SET environment = 'other'", "deployment_append_only"),
        ("UPDATE releases_deployment SET actor = 'another person'", "deployment_append_only"),
        ("UPDATE releases_deployment SET created_at = now()", "deployment_append_only"),
        ("DELETE FROM releases_deployment", "deployment_append_only"),
        ("TRUNCATE releases_deployment", "deployment_not_truncated"),
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
