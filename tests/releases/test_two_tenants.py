"""Two tenants use the same pipelines, versions, bytes and keys. Neither gains any rights from the other."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from releases import queries
from releases.errors import DirectUploadsFull, UploadUnknown
from releases.models import ArtifactUpload, Blob, Release
from releases.registration import attachments, direct_uploads
from releases.registration.direct_uploads import MAX_OPEN
from releases.registration.registrar import verify_release
from releases.trust import trust, trusted_keys
from releases.trust.trust import Standing
from tenancy.models import Tenant
from tests import making, signing
from tests.s3 import S3Place, use_s3

pytestmark = pytest.mark.django_db
CONTRACT = making.contract()
DATA = making.archive(CONTRACT)
DIGEST = making.digest_of(DATA)


@pytest.fixture
def twins() -> tuple[Tenant, Tenant]:
    return making.tenant(), making.tenant()


def uploaded(owner: Tenant, *files: bytes, **changes: Any) -> Release:
    """Upload and verify a release. Return it with its verdict."""
    release = making.upload(owner, {**making.descriptor(CONTRACT, DATA), **changes}, *files).release
    verify_release(release.pk)
    release.refresh_from_db()
    return release


def test_each_tenant_registers_a_version_with_its_own_metadata(twins: tuple[Tenant, Tenant]) -> None:
    here, there = twins
    first = uploaded(here, DATA)
    [artifact] = making.descriptor(CONTRACT, DATA)["artifacts"]
    second = uploaded(there, DATA, artifacts=[{**artifact, "uri": "elsewhere.zip"}])
    assert (first.status, second.status) == ("REGISTERED", "REGISTERED")
    for owner, release in ((here, first), (there, second)):
        assert queries.release(queries.pipeline(owner, making.PIPELINE), "1.0").pk == release.pk
        again = making.upload(owner, release.descriptor, DATA)
        assert (again.created, again.release.pk) == (False, release.pk)
        assert release.contract is not None
        assert release.contract.pipeline.tenant == owner


def test_a_contract_version_has_a_document_for_each_pipeline(twins: tuple[Tenant, Tenant]) -> None:
    """The documents differ, and neither conflicts with that of the other tenant."""
    statuses = []
    for name, owner in zip(("Validate", "Renamed"), twins, strict=True):
        document = {**CONTRACT, "steps": [{**making.STEP, "authoredName": name}]}
        data = making.archive(document)
        release = making.upload(owner, making.descriptor(document, data), data).release
        verify_release(release.pk)
        release.refresh_from_db()
        statuses.append([finding["code"] for finding in release.findings if finding["code"] == "CONTRACT_CONFLICT"])
    assert statuses == [[], []]


def test_a_direct_upload_of_another_tenant_gives_no_right_to_the_bytes(twins: tuple[Tenant, Tenant]) -> None:
    here, there = twins
    uploaded(making.tenant(), DATA)
    assert Blob.objects.get(digest=DIGEST).state == "SOUND"
    assert uploaded(here).status == "REJECTED", "knowledge of a digest gives no right"
    stored_upload(there)
    assert uploaded(here).status == "REJECTED"
    stored_upload(here)
    assert uploaded(here).status == "REGISTERED"


def stored_upload(owner: Tenant) -> None:
    ArtifactUpload.objects.create(
        tenant=owner,
        digest=DIGEST,
        size=len(DATA),
        part_size=len(DATA),
        status="OPEN",
        expires_at=timezone.now() + timedelta(days=1),
    )
    for status in ("VERIFYING", "STORED"):
        ArtifactUpload.objects.filter(tenant=owner).update(status=status)


class TestDirectUploads:
    @pytest.fixture(autouse=True)
    def place(self, settings: Any, s3_place: S3Place) -> None:
        use_s3(settings, s3_place)

    def test_each_tenant_has_its_own_upload_of_the_same_bytes(self, twins: tuple[Tenant, Tenant]) -> None:
        made = [direct_uploads.begin(owner, digest=DIGEST, size=5, actor="user:test") for owner in twins]
        assert [direct_uploads.begin(owner, digest=DIGEST, size=5, actor="user:test") for owner in twins] == made
        for owner, other in ((twins[0], made[1]), (twins[1], made[0])):
            with pytest.raises(UploadUnknown):
                direct_uploads.find(owner, str(other.pk))

    def test_open_uploads_of_one_tenant_do_not_limit_the_other(self, twins: tuple[Tenant, Tenant]) -> None:
        here, there = twins
        ArtifactUpload.objects.bulk_create(
            ArtifactUpload(
                tenant=there,
                digest=making.digest_of(str(number).encode()),
                size=1,
                part_size=1,
                status="OPEN",
                expires_at=timezone.now() + timedelta(days=1),
            )
            for number in range(MAX_OPEN)
        )
        assert direct_uploads.begin(here, digest=DIGEST, size=5, actor="user:test").tenant == here
        with pytest.raises(DirectUploadsFull):
            direct_uploads.begin(there, digest=DIGEST, size=5, actor="user:test")


# --- signatures ---


def signed(owner: Tenant, version: str, *names: str) -> Release:
    release = making.registered(owner, version)
    if names:
        attachments.attach(release, [signing.envelope(release.descriptor, *names)], actor="user:test")
    return Release.objects.select_related("pipeline__tenant").get(pk=release.pk)


def test_a_list_of_several_tenants_uses_the_keys_of_each_releases_tenant(twins: tuple[Tenant, Tenant]) -> None:
    here, there = twins
    signing.trusted(here, "ours")
    signing.trusted(there, "theirs")
    trusted_keys.revoke(signing.trusted(here, "old"), actor="user:admin", reason="left")
    expected = {
        signed(here, "1.0", "ours").pk: Standing.SIGNED,
        signed(here, "2.0", "theirs").pk: Standing.UNTRUSTED,
        signed(here, "3.0", "old").pk: Standing.REVOKED_KEYS,
        signed(here, "4.0").pk: Standing.UNSIGNED,
        signed(there, "1.0", "ours").pk: Standing.UNTRUSTED,
        signed(there, "2.0", "theirs").pk: Standing.SIGNED,
    }
    releases = Release.objects.select_related("pipeline").all()
    assert trust.standings(releases) == expected
    for release in Release.objects.select_related("pipeline__tenant").all():
        assert trust.of(release).standing == expected[release.pk]


def test_an_equal_attachment_is_found_in_each_pipeline_that_has_it(twins: tuple[Tenant, Tenant]) -> None:
    content = json.dumps(signing.cyclone()).encode()
    for owner in twins:
        attachments.attach(making.registered(owner), [content], actor="user:test")
    for owner in twins:
        found = attachments.find(queries.pipeline(owner, making.PIPELINE), making.digest_of(content))
        assert found.release.pipeline.tenant == owner
