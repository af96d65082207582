"""The database rejects invalid deployments: each names a verified release of its tenant and application."""

import pytest

from releases.models import Deployment, Release
from tests import making
from tests.raw_sql import run
from tests.releases.invariants.rejecting import rejected_by

pytestmark = pytest.mark.django_db

VALUES = {"tenant_id": "p.tenant_id", "application": "'orders'", "descriptor_digest": "r.descriptor_digest"}


def insert(**changes: str) -> str:
    """Return a statement that inserts a deployment of a release. Its only parameter is the key of the release."""
    values = {
        "id": "gen_random_uuid()",
        "idempotency_key": "'new'",
        "release_id": "r.id",
        "environment": "'production'",
        "actor": "''",
        "created_at": "now()",
        **VALUES,
        **changes,
    }
    return f"""INSERT INTO releases_deployment ({", ".join(values)}) SELECT {", ".join(values.values())}
        FROM releases_release r JOIN releases_pipeline p ON p.id = r.pipeline_id WHERE r.id = %s"""


def test_a_deployment_names_a_release_of_its_tenant_and_application(release: Release) -> None:
    rival = making.active(making.tenant())
    for changes in (
        {"tenant_id": str(rival.pipeline.tenant_id)},
        {"application": "'other'"},
        {"descriptor_digest": f"'{making.digest_of(b'x')}'"},
        {"release_id": str(rival.pk)},
    ):
        assert rejected_by(insert(**changes), release.pk) == "deployment_of_verified_release"
    assert rejected_by(insert(application="''"), rival.pk) == "deployment_names_its_place"


def test_a_deployment_names_a_verified_release(release: Release) -> None:
    uploaded = making.upload(release.pipeline.tenant, making.descriptor(making.contract(), b"", "2.0")).release
    assert rejected_by(insert(), uploaded.pk) == "deployment_of_verified_release"
    for status in ("VERIFYING", "REJECTED"):
        Release.objects.filter(pk=uploaded.pk).update(status=status)
        assert rejected_by(insert(), uploaded.pk) == "deployment_of_verified_release"


def test_a_key_is_used_once_in_a_tenant(release: Release) -> None:
    assert rejected_by(insert(idempotency_key="'deployed'"), release.pk) == "deployment_key_once"
    assert Deployment.objects.get().release == release


def test_the_newest_deployments_of_a_tenant_are_read_from_an_index(release: Release) -> None:
    run("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_incremental_sort = off")
    newest = Deployment.objects.filter(tenant=release.pipeline.tenant)[:10]
    plan = newest.explain()
    assert "deployment_newest" in plan
    assert "Sort" not in plan
