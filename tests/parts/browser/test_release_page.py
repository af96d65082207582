"""The pages of releases of both profiles fit on a common screen, and the values that they shorten can be copied."""

from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from releases.activation import policy
from releases.models import Release
from releases.registration.registrar import verify_release
from tenancy.models import Tenant
from tests import making
from tests.admin.conftest import World
from tests.maven_repository import maven_repository

GROUP = "maven:com.acme.billing.settlement"
CONTRACT = making.contract("com.acme.billing.invoice-settlement-and-reconciliation")
DATA = making.archive(CONTRACT)
IDENTITY_ONLY = {"missingArtifacts": "identity-only"}
OVERFLOW = """() => [document.documentElement, ...document.querySelectorAll('.dc-scroll')]
    .map(each => each.scrollWidth - each.clientWidth)"""


def binary(artifact_id: str, uri: str, data: bytes, **members: Any) -> dict[str, Any]:
    artifact = {"artifactId": artifact_id, "kind": "native-binary", "uri": uri, "digest": making.digest_of(data)}
    return {**artifact, "stepIds": [], "capabilities": [], **members}


def carrying(owner: Tenant, settings: Any) -> Release:
    """Register a release of the profile `tpf-2026-10` with an artifact of each origin, and deploy it."""
    policy.change(making.registered(owner, pipeline_id=CONTRACT["pipelineId"]).pipeline, IDENTITY_ONLY, actor="user:x")
    document = making.carrier_descriptor(CONTRACT, DATA, "2026.10.1", uri=f"{GROUP}:application:zip:dist:2026.10.1")
    published, image = f"{GROUP}:settle:bin:linux-x86_64:2026.10.1", making.digest_of(b"image")
    document["artifacts"] += [
        binary("settle-linux-x86_64", published, b"published"),
        binary("settle-linux-aarch64", f"{GROUP}:settle:bin:linux-aarch64:2026.10.1", b"nowhere"),
        binary("image", f"oci://registry.acme.example:5000/billing/{image[7:]}@{image}", b"image", kind="lambda-image"),
    ]
    with maven_repository() as repository:
        repository.publish(published, b"published")
        repository.configure(settings)
        release = making.verified(making.upload(owner, document, DATA).release)
    making.deployed(release, "production-eu-central-1", actor="token:" + "deployer-" * 10)
    return release


def rejected(owner: Tenant) -> Release:
    """Upload a release whose findings have long codes, fields and messages."""
    other = making.contract("com.acme.billing.another-pipeline-with-another-contract")
    data = making.archive(other)
    members = {"pipelineId": CONTRACT["pipelineId"], "contractVersion": CONTRACT["contractVersion"]}
    release = making.upload(owner, {**making.carrier_descriptor(other, data, "2026.10.2"), **members}, data).release
    verify_release(release.pk)
    return release


@pytest.mark.timeout(300)
def test_nothing_on_the_page_of_a_release_scrolls_sideways(
    page: Page, acme: tuple[World, str], settings: Any, subtests: pytest.Subtests
) -> None:
    owner = acme[0].tenant
    releases = {"older": acme[0].release, "newer": carrying(owner, settings), "rejected": rejected(owner)}
    for name, release in releases.items():
        with subtests.test(name):
            page.goto(reverse("admin:releases_release_change", args=[release.pk]))
            expect(page.locator("html")).not_to_have_attribute("x-cloak", "")
            assert not any(page.evaluate(OVERFLOW))


@pytest.mark.timeout(300)
def test_a_shortened_digest_is_copied_in_full_and_its_descriptor_is_downloaded(
    page: Page, acme: tuple[World, str], settings: Any
) -> None:
    release = carrying(acme[0].tenant, settings)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(reverse("admin:releases_release_change", args=[release.pk]))
    digest = page.locator("[data-descriptor]")
    expect(digest.locator(".dc-short")).to_have_attribute("title", release.descriptor_digest)
    assert digest.locator(".dc-short").evaluate("each => each.scrollWidth > each.clientWidth")
    digest.get_by_role("button").click()
    expect(digest.get_by_role("button")).to_have_text("check")
    assert page.evaluate("navigator.clipboard.readText()") == release.descriptor_digest
    with page.expect_download() as download:
        digest.get_by_role("link", name="Download").click()
    assert Path(download.value.path()).read_bytes() == bytes(release.descriptor_document)
    assert download.value.suggested_filename == "pipeline-release.json"


@pytest.mark.timeout(300)
def test_the_policy_form_explains_the_chosen_value(page: Page, acme: tuple[World, str]) -> None:
    page.goto(reverse("admin:releases_pipeline_change", args=[acme[0].release.pipeline_id]))
    page.get_by_text("Change the policy").click()
    choice = page.locator("div:has(> #missing_artifacts) p")
    expect(choice).to_have_text("A release whose bytes cannot be had is rejected.")
    page.select_option("#missing_artifacts", "identity-only")
    expect(choice).to_have_text("A release whose bytes cannot be had is registered, and only identifies them.")
    assert not any(page.evaluate(OVERFLOW))
    page.get_by_role("button", name="Save policy").click()
    expect(page.get_by_text("was saved")).to_be_visible()
    page.get_by_text("Change the policy").click()
    expect(page.locator("#missing_artifacts")).to_have_value("identity-only")
    expect(choice).to_contain_text("only identifies them")
