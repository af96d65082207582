from typing import Any

import pytest

from releases import queries
from releases.models import ArtifactUpload, Blob, Release
from releases.trust import attachments, trust
from releases.trust.trust import Standing
from tenancy.models import Tenant
from tests import making, signing
from tests.releases.registration.sending import opened

pytestmark = pytest.mark.django_db
CONTRACT = making.contract()
DATA = making.archive(CONTRACT)
DIGEST = making.digest_of(DATA)


@pytest.fixture
def twins() -> tuple[Tenant, Tenant]:
    return making.tenant(), making.tenant()


def uploaded(owner: Tenant, *files: bytes, **changes: Any) -> Release:
    release = making.upload(owner, {**making.descriptor(CONTRACT, DATA), **changes}, *files).release
    making.verdict(release)
    return release


def test_each_tenant_registers_a_version_with_its_own_metadata(twins: tuple[Tenant, Tenant]) -> None:
    here, there = twins
    first = uploaded(here, DATA)
    [artifact] = making.descriptor(CONTRACT, DATA)["artifacts"]
    second = uploaded(there, DATA, artifacts=[{**artifact, "uri": "elsewhere.zip"}])
    assert (first.status, second.status) == ("REGISTERED", "REGISTERED")
    for owner, release in ((here, first), (there, second)):
        assert queries.release(queries.pipeline(owner, making.PIPELINE), "1.0").pk == release.pk
        assert release.contract is not None
        assert release.contract.pipeline.tenant == owner


def test_a_contract_version_has_a_document_for_each_pipeline(twins: tuple[Tenant, Tenant]) -> None:
    for name, owner in zip(("Validate", "Renamed"), twins, strict=True):
        contract = {**CONTRACT, "steps": [{**making.STEP, "authoredName": name}]}
        data = making.archive(contract)
        release = making.verified(making.upload(owner, making.descriptor(contract, data), data).release)
        assert "CONTRACT_CONFLICT" not in {finding["code"] for finding in release.findings}


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
    opened(owner, DIGEST)
    for status in ("VERIFYING", "STORED"):
        ArtifactUpload.objects.filter(tenant=owner).update(status=status)


def signed(owner: Tenant, version: str, *names: str) -> Release:
    release = making.registered(owner, version)
    if names:
        attachments.attach(release, [signing.envelope(release.descriptor, *names)], actor="user:test")
    return Release.objects.select_related("pipeline__tenant").get(pk=release.pk)


def test_a_list_of_several_tenants_uses_the_keys_of_each_releases_tenant(twins: tuple[Tenant, Tenant]) -> None:
    here, there = twins
    signing.trusted(here, "ours")
    signing.trusted(there, "theirs")
    expected = {
        signed(here, "1.0", "ours").pk: Standing.SIGNED,
        signed(here, "2.0", "theirs").pk: Standing.UNTRUSTED,
        signed(here, "3.0").pk: Standing.UNSIGNED,
        signed(there, "1.0", "ours").pk: Standing.UNTRUSTED,
        signed(there, "2.0", "theirs").pk: Standing.SIGNED,
    }
    releases = Release.objects.select_related("pipeline").all()
    assert trust.standings(releases) == expected
    for release in Release.objects.select_related("pipeline__tenant").all():
        assert trust.trust_of(release).standing == expected[release.pk]
