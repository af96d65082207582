"""The pages of releases whose descriptor has the profile `tpf-2026-10`, and of their deployments."""

import json
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from releases.models import Pipeline, Release
from releases.registration.registrar import verify_release
from tests import making
from tests.admin.conftest import LogIn, World
from tests.maven_repository import maven_repository
from tests.raw_sql import rows

MARKUP = "<img src=x onerror=alert(1)>"
CONTRACT = making.contract("acme.orders")
DATA = making.archive(CONTRACT, code="2.0")
URI = "maven:com.acme:orders:zip:2.0"


def page(release: Release) -> str:
    return reverse("admin:releases_release_change", args=[release.pk])


def descriptor(release: Release) -> str:
    return reverse("admin:releases_release_descriptor", args=[release.pk])


def carrying(world: World, version: str = "2.0", *files: bytes, **more: Any) -> Release:
    """Upload and verify a release with a carrier. Return it with its verdict."""
    document = making.carrier_descriptor(CONTRACT, DATA, version, uri=URI, **more)
    release = making.upload(world.tenant, document, *files).release
    verify_release(release.pk)
    return Release.objects.select_related("pipeline").get(pk=release.pk)


def origins(log_in: LogIn, release: Release) -> list[str]:
    shown = log_in("viewer").get(page(release))
    names = [artifact.origin.name for artifact in shown.context["artifacts"]]
    for name in names:
        assert f'data-origin="{name}"' in shown.text
    return names


# --- the descriptor ---


def test_the_page_shows_the_profile_the_carrier_and_the_digest_of_the_descriptor(log_in: LogIn, acme: World) -> None:
    release = carrying(acme, "2.0", DATA)
    client = log_in("viewer")
    newer, older = client.get(page(release)).text, client.get(page(acme.release)).text
    for text, each, profile, badge, other in (
        (newer, release, "tpf-2026-10", "carrier", "primary"),
        (older, acme.release, "tpf-2026-08", "primary", "carrier"),
    ):
        assert f"<dd data-profile>{profile}</dd>" in text
        assert f'title="{each.descriptor_digest}"' in text
        assert f'href="{descriptor(each)}"' in text
        labels = [line.strip() for line in text.partition("data-artifacts")[2].partition("</table>")[0].splitlines()]
        assert badge in labels
        assert other not in labels


def test_the_exact_bytes_of_a_descriptor_are_downloaded(log_in: LogIn, acme: World) -> None:
    client, release = log_in("viewer"), carrying(acme, "2.0", DATA)
    response = client.get(descriptor(release))
    assert (response.status_code, response.content) == (200, bytes(release.descriptor_document))
    assert making.digest_of(response.content) == release.descriptor_digest
    assert response["Content-Type"] == "application/json"
    assert response["Content-Disposition"] == 'attachment; filename="pipeline-release.json"'
    assert response["X-Content-Type-Options"] == "nosniff"
    again = client.get(descriptor(release), headers={"If-None-Match": response["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.head(descriptor(release))["Content-Length"] == str(len(response.content))
    assert client.post(descriptor(release)).status_code == 405


# --- where the bytes come from ---


def test_uploaded_bytes_are_shown_as_uploaded(log_in: LogIn, acme: World) -> None:
    assert origins(log_in, carrying(acme, "2.0", DATA)) == ["UPLOADED"]
    assert origins(log_in, acme.release) == ["UPLOADED"]


def test_bytes_from_a_repository_are_shown_so_for_each_release_that_pins_them(
    log_in: LogIn, acme: World, settings: Any
) -> None:
    with maven_repository() as repository:
        repository.publish(URI, DATA)
        repository.configure(settings)
        first, second = carrying(acme), carrying(acme, "3.0")
    assert (first.status, second.status) == ("REGISTERED", "REGISTERED")
    assert [each.artifacts.get().resolved for each in (first, second)] == [True, False]
    assert origins(log_in, first) == origins(log_in, second) == ["RESOLVED"]
    assert "from a Maven repository" in log_in("viewer").get(page(first)).text


def test_what_another_tenant_got_from_a_repository_does_not_count(
    log_in: LogIn, acme: World, globex: World, settings: Any
) -> None:
    with maven_repository() as repository:
        repository.publish(URI, DATA)
        repository.configure(settings)
        theirs = carrying(globex)
    ours = carrying(acme, "2.0", DATA)
    assert (theirs.status, theirs.artifacts.get().resolved) == ("REGISTERED", True)
    assert origins(log_in, ours) == ["UPLOADED"]


def test_bytes_that_were_uploaded_first_stay_uploaded(log_in: LogIn, acme: World) -> None:
    assert origins(log_in, carrying(acme, "2.0", DATA)) == origins(log_in, carrying(acme, "3.0")) == ["UPLOADED"]


def test_an_artifact_without_bytes_is_awaited_missing_or_only_identified(log_in: LogIn, acme: World) -> None:
    document = making.carrier_descriptor(CONTRACT, DATA, "2.0", uri=URI)
    pending = making.upload(acme.tenant, document).release
    assert origins(log_in, pending) == ["AWAITED"]
    rejected = carrying(acme, "3.0")
    assert rejected.status == "REJECTED"
    assert origins(log_in, rejected) == ["MISSING"]
    Pipeline.objects.filter(pk=rejected.pipeline_id).update(missing_artifacts="identity-only")
    identified = carrying(acme, "4.0")
    assert identified.status == "REGISTERED"
    assert origins(log_in, identified) == ["IDENTITY_ONLY"]
    text = log_in("viewer").get(page(identified)).text
    assert "Identity only" in text
    assert "ARTIFACT_IDENTITY_ONLY" in text
    assert reverse("admin:releases_release_artifact", args=[identified.pk, identified.artifacts.get().pk]) not in text


def test_an_image_is_not_stored_here(log_in: LogIn, acme: World) -> None:
    document = making.descriptor(CONTRACT, b"", "2.0", "container-image")
    assert origins(log_in, making.upload(acme.tenant, document).release) == ["ELSEWHERE"]


# --- deployments ---


def test_the_page_shows_the_deployments_of_its_release_only(log_in: LogIn, acme: World) -> None:
    client, release = log_in("viewer"), carrying(acme, "2.0", DATA)
    assert "data-deployments" not in client.get(page(release)).text
    making.deployed(release, "staging", "key-of-staging", actor="oauth:ci")
    making.deployed(acme.release, "production", "key-of-another-release")
    text = client.get(page(release)).text
    for shown in ("shop", "staging", "key-of-staging", "oauth:ci"):
        assert shown in text
    assert "key-of-another-release" not in text
    pipeline = client.get(reverse("admin:releases_pipeline_change", args=[release.pipeline_id]))
    assert "shop" in pipeline.text.partition("data-application")[2].partition("</dd>")[0]


def test_a_pipeline_that_was_never_deployed_has_no_application(log_in: LogIn, acme: World) -> None:
    text = log_in("viewer").get(reverse("admin:releases_pipeline_change", args=[acme.release.pipeline_id])).text
    assert "none has deployed it" in text


def test_the_newest_deployments_are_shown_with_a_constant_number_of_queries(log_in: LogIn, acme: World) -> None:
    client, release = log_in("viewer"), carrying(acme, "2.0", DATA)

    def query_count() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(page(release)).status_code == 200
        return len(queries)

    making.deployed(release, "environment-0")
    before = query_count()
    for number in range(1, 25):
        making.deployed(release, f"environment-{number}")
    assert query_count() == before
    shown = client.get(page(release))
    assert len(shown.context["deployments"]) == 20
    assert "Only the newest 20 deployments are shown." in shown.text


def test_text_of_a_deployment_is_never_markup(log_in: LogIn, acme: World) -> None:
    Pipeline.objects.filter(pk=acme.release.pipeline_id).update(application=MARKUP)
    making.deployed(acme.release, MARKUP, f"key {MARKUP}", actor=MARKUP)
    client = log_in("viewer")
    for address in (page(acme.release), reverse("admin:releases_pipeline_change", args=[acme.release.pipeline_id])):
        text = client.get(address).text
        assert MARKUP not in text
        assert "&lt;img src=x" in text


# --- the upload page ---


def upload(log_in: LogIn, document: dict[str, Any]) -> Any:
    body = {"tenant": "acme", "descriptor": SimpleUploadedFile("d.json", json.dumps(document).encode())}
    return log_in("release-manager").post(reverse("admin:releases_release_upload"), body)


def test_the_upload_page_says_which_artifacts_need_no_file(log_in: LogIn) -> None:
    text = log_in("release-manager").get(reverse("admin:releases_release_upload")).text
    assert 'Artifacts with a <span class="dc-mono">maven:</span> URI need not be uploaded.' in text


def test_an_invalid_descriptor_shows_findings_that_name_its_profile(log_in: LogIn, acme: World) -> None:
    document = making.carrier_descriptor(CONTRACT, DATA, "2.0", kind="local-file", uri="target/app.zip")
    before = rows(Release)
    answer = upload(log_in, document)
    assert answer.status_code == 400
    for code in ("DESCRIPTOR_INVALID", "ARTIFACT_KIND_UNSUPPORTED", "ARTIFACT_URI_SCHEME_UNSUPPORTED"):
        assert code in answer.text
    assert answer.text.count("profile tpf-2026-10: ") == 2
    assert rows(Release) == before


def test_other_bytes_of_an_equal_descriptor_are_a_conflict(log_in: LogIn, acme: World) -> None:
    carrying(acme, "2.0", DATA)
    document = making.carrier_descriptor(CONTRACT, DATA, "2.0", uri=URI)
    assert upload(log_in, document).status_code == 302
    reordered = dict(reversed(document.items()))
    answer = upload(log_in, reordered)
    assert answer.status_code == 409
    assert "RELEASE_CONFLICT" in answer.text
