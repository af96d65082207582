"""The database rejects invalid releases, contracts and revocations, and changes of a verdict."""

from itertools import product

import pytest

from releases.models import Pipeline, Release, Retirement, Revocation
from releases.states import MOVES, Status
from tests import making
from tests.raw_sql import check_foreign_keys_now, run, unguarded
from tests.releases.invariants.rejecting import rejected_by

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "change",
    [
        "pipeline_id = pipeline_id + 1",
        "contract_version = 'other'",
        "release_version = 'other'",
        "descriptor = '{}'",
        "descriptor_document = descriptor_document || ' '::bytea",
        "descriptor_digest = 'sha256:0'",
        "uploaded_by = 'other'",
        "created_at = now() + interval '1 day'",
        "id = id + 1000",
    ],
)
def test_a_release_is_immutable(release: Release, change: str) -> None:
    assert rejected_by(f"UPDATE releases_release SET {change} WHERE id = %s", release.pk) == "release_immutable"


@pytest.mark.parametrize(
    "change",
    [
        "findings = '[1]'",
        "contract_id = NULL",
        "primary_artifact_id = 'other'",
        "environments = '[1]'",
        "checkpoints = true",
    ],
)
def test_a_verdict_is_written_once(release: Release, change: str) -> None:
    assert rejected_by(f"UPDATE releases_release SET {change} WHERE id = %s", release.pk) == "release_verdict_once"


def test_the_time_of_a_verdict_never_changes(release: Release) -> None:
    sql = "UPDATE releases_release SET status_changed_at = now() + interval '1 day' WHERE id = %s"
    assert rejected_by(sql, release.pk) == "release_verdict_time"


@pytest.mark.parametrize(("source", "target"), list(product(Status, Status)))
def test_the_trigger_allows_the_same_moves_as_the_table(release: Release, source: Status, target: Status) -> None:
    """For every pair of statuses, the trigger allows exactly the moves in `MOVES`."""
    with unguarded(Release), unguarded(Revocation), unguarded(Retirement), unguarded(Pipeline):
        run("UPDATE releases_release SET status = %s WHERE id = %s", source, release.pk)
        run("INSERT INTO releases_revocation (release_id, actor, reason) VALUES (%s, '', 'why')", release.pk)
        sql = "INSERT INTO releases_retirement (release_id, actor, reason, given_up_failures) VALUES (%s, '', 'why', 0)"
        run(sql, release.pk)
        run("UPDATE releases_pipeline SET activation_id = NULL WHERE id = %s", release.pipeline_id)
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


def test_a_contract_version_has_one_document(release: Release) -> None:
    sql = """INSERT INTO releases_contract (pipeline_id, contract_version, document, created_at)
        SELECT pipeline_id, contract_version, '{}', now() FROM releases_contract WHERE id = %s"""
    assert rejected_by(sql, release.contract_id) == "contract_once"


def test_the_database_requires_the_reason_of_a_revocation(release: Release) -> None:
    sql = "INSERT INTO releases_revocation (release_id, actor, reason, revoked_at) VALUES (%s, '', ' ', now())"
    assert rejected_by(sql, release.pk) == "revocation_says_why"
