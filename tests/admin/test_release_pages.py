import json
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import requests
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client, override_settings

from executions.models import Execution, SmokeTest, Worker
from governance.pipeline_page import PIPELINE_TABS
from governance.release_page import TABS
from releases.models import ArtifactUpload, Blob, KeyRevocation, Pipeline, Release, Retirement, Revocation, TrustedKey
from releases.registration import direct_uploads
from releases.registration.api import ReleaseView
from releases.registration.progress import Progress
from releases.registration.verification import verify_release
from tests import making, signing
from tests.admin.browsing import MARKUP, inert, to, words
from tests.admin.conftest import LogIn, World
from tests.cases import cases
from tests.interop.deploying import deployed
from tests.maven_repository import maven_repository
from tests.raw_sql import rows
from tests.releases.registration import located
from tests.s3 import S3Place, use_s3
from wire.documents.contract import LOCK_ENTRY
from wire.documents.descriptor import artifact_field
from wire.findings import Finding, Severity

CONTRACT = making.contract("acme.orders")
URI = "maven:com.acme:orders:zip:2.0"
DATA = making.archive(CONTRACT, code="2.0")


def page_of(release: Release, tab: str = "") -> str:
    return to("releases_release_change", release) + (f"?tab={tab}" if tab else "")


def test_untrusted_text_is_never_markup(log_in: LogIn, acme: World) -> None:
    release = making.active(acme.tenant, MARKUP, pipeline_id=MARKUP, steps=[{**making.STEP, "authoredName": MARKUP}])
    worker = making.worker(release, MARKUP)
    execution = making.execution(acme.tenant, MARKUP, {"n": MARKUP}, pipeline_id=MARKUP)
    Pipeline.objects.filter(pk=release.pipeline_id).update(application=MARKUP)
    deployed(release, MARKUP, f"key {MARKUP}", actor=MARKUP)
    client = log_in("superuser")
    models = ("releases_release", "releases_pipeline", "executions_execution", "executions_worker")
    for address in (
        to("index"),
        *(to(f"{model}_changelist") for model in models),
        *(page_of(release, tab) for tab in TABS),
        to("releases_release_activate_form", release),
        *(f"{to('releases_pipeline_change', release.pipeline_id)}?tab={tab}" for tab in PIPELINE_TABS),
        to("releases_pipeline_health", release.pipeline_id),
        to("releases_pipeline_compare", release.pipeline_id),
        to("executions_execution_change", execution),
        to("executions_worker_change", worker),
    ):
        inert(client.get(address))


def test_a_release_that_waits_for_a_server_says_why_and_until_when(viewer: Client, acme: World) -> None:
    release = making.uploaded(acme.tenant, "2.0", pipeline_id="acme.orders")
    Release.objects.filter(pk=release.pk).update(status="VERIFYING")
    silent = Finding("MAVEN_REPOSITORY_UNAVAILABLE", artifact_field(0, "uri"), "acme-releases is silent")
    Progress(release.pk).unanswered(0, silent)
    text = words(viewer.get(page_of(release)))
    until = release.created_at + timedelta(hours=24)
    for expected in ("no answer", silent.code, silent.message, f"before {until:%Y-%m-%d %H:%M:%S} UTC"):
        assert expected in text
    release.refresh_from_db()
    assert ReleaseView(release).data["findings"] == [replace(silent, severity=Severity.WARNING).to_json()]


def artifact_of(release: Release, other: Release | None = None) -> str:
    return to("releases_release_artifact", release, (other or release).artifacts.get())


def test_the_page_of_a_release_links_its_stored_bytes(viewer: Client, acme: World) -> None:
    address = artifact_of(acme.release)
    assert f'href="{address}"' in viewer.get(page_of(acme.release, "artifacts")).text
    response = viewer.get(address)
    data = making.stored_file(acme.release.artifacts.get().digest).read_bytes()
    assert (response.status_code, response.getvalue()) == (200, data)
    assert response["Content-Disposition"] == 'attachment; filename="app.zip"'


def test_the_page_of_a_release_shows_the_environment_that_its_artifact_requires(viewer: Client, acme: World) -> None:
    data = making.archive(CONTRACT, **{LOCK_ENTRY: "pydantic==2.12.0\n"})
    release = making.upload(acme.tenant, making.descriptor(CONTRACT, data, "2.0"), data).release
    verify_release(release.pk)
    text = viewer.get(page_of(release, "artifacts")).text
    assert "data-required-environment" in text
    assert "<li>pydantic 2.12.0</li>" in text


def test_artifacts_that_cannot_be_downloaded(viewer: Client, acme: World, globex: World, newer: Release) -> None:
    wrong = making.archive(making.contract("org.example.wrong"))
    rejected = making.upload(acme.tenant, making.descriptor(CONTRACT, wrong, "3.0"), wrong).release
    assert artifact_of(rejected) in viewer.get(page_of(rejected, "artifacts")).text
    verify_release(rejected.pk)
    image = making.upload(acme.tenant, making.descriptor(CONTRACT, b"", "4.0", "container-image")).release
    for release in (rejected, image):
        assert artifact_of(release) not in viewer.get(page_of(release, "artifacts")).text
        assert viewer.get(artifact_of(release)).status_code == 404
    for other in (newer, globex.release):
        assert viewer.get(artifact_of(acme.release, other)).status_code == 404


def test_a_page_of_an_image_says_that_workers_prove_nothing_and_what_they_declare(viewer: Client, acme: World) -> None:
    said = "The coordinator cannot tell whether a worker runs this image."
    assert said not in words(viewer.get(page_of(acme.release)))
    image = making.upload(acme.tenant, making.descriptor(CONTRACT, b"", "4.0", "container-image")).release
    making.worker(image, "by-digest", artifact_digest=making.digest_of(b""))
    making.worker(image, "by-id", artifact_id="app")
    silent = making.worker(image, "silent", code="image")
    shown = viewer.get(page_of(image))
    assert said in words(shown)
    assert [words(shown).count(text) for text in ("declared, not proved", "not declared")] == [2, 1]
    for worker in Worker.objects.filter(release_version="4.0"):
        text = words(viewer.get(to("executions_worker_change", worker)))
        assert ("an image: declared, not proved" in text) == (worker != silent)
        assert ("unverified: an image" in text) == (worker == silent)


def test_bytes_that_cannot_be_read_are_a_message_on_the_page(viewer: Client, acme: World) -> None:
    Blob.objects.filter(digest=acme.release.artifacts.get().digest).update(state=Blob.State.DAMAGED)
    response = viewer.get(artifact_of(acme.release), follow=True)
    assert response.redirect_chain == [(page_of(acme.release), 302)]
    assert artifact_of(acme.release) not in response.text


def test_the_form_starts_a_smoke_test_once_and_shows_its_verdict(log_in: LogIn, manager: Client, acme: World) -> None:
    making.claimed(acme.tenant)
    fields = {"idempotency_key": "page", "input": '{"n": 1}', "expected_result": '{"n": 1}'}
    for _ in range(2):
        answer = manager.post(to("executions_smoketest_new", acme.release), fields)
        test = SmokeTest.objects.get()
        shown = to("executions_execution_change", test.execution_id)
        assert answer.headers["Location"] == shown
    assert (test.expected_result, test.actor) == ([{"n": 1}], "user:release-manager")
    assert Execution.objects.get(pk=test.execution_id).input == {"n": 1}
    [claim] = making.claimed(acme.tenant)
    assert making.record(making.outcome_of(claim)) == 1
    assert " passed " in words(manager.get(page_of(acme.release, "tests")))
    assert str(claim.execution_id) in log_in("viewer").get(to("executions_smoketest_changelist")).text


def act(client: Client, name: str, release: Release, **fields: str) -> str:
    response: Any = client.post(to(f"releases_release_{name}", release), fields, follow=True)
    return str(response.text)


def test_a_release_is_retired_with_a_reason_and_failures_are_ignored_with_a_tick(manager: Client, acme: World) -> None:
    sent = {"reason": "replaced", "ignore_failures": "on", "typed_version": "1.0"}
    assert "ACTIVE 1, QUEUED 1" in act(manager, "retire", acme.release, **sent)
    Pipeline.objects.filter(pk=acme.release.pipeline_id).update(retry_limit=0)
    [claim] = making.claimed(acme.tenant)
    making.record(making.failure(claim))
    making.active(acme.tenant, "2.0", pipeline_id="acme.orders")
    for wrong in ({"reason": " "}, {"typed_version": "1.1"}, {"ignore_failures": ""}):
        act(manager, "retire", acme.release, **{**sent, **wrong})
    assert not Retirement.objects.exists()
    assert "“replaced”" in act(manager, "retire", acme.release, **sent)
    made = Retirement.objects.get()
    assert (made.actor, made.given_up_failures) == ("user:release-manager", 1)


def test_a_revocation_shows_what_it_hits_and_is_typed(log_in: LogIn, manager: Client, acme: World) -> None:
    making.scheduled(acme.tenant, pipeline_id="acme.orders")
    asked = words(manager.get(to("releases_release_revoke", acme.release)))
    expected = ("nothing can be submitted to acme.orders", "Queued executions 1", ": 1 execution,", "nightly")
    assert [text in asked for text in expected] == [True] * 4
    sent = {"reason": MARKUP, "typed_version": "1.0", "open_executions": "leave", "shown_active": "yes"}
    for wrong in ({"reason": " "}, {"typed_version": "2.0"}, {"open_executions": "stop"}, {"shown_active": "no"}):
        act(manager, "revoke", acme.release, **{**sent, **wrong})
    assert log_in("operator").post(to("releases_release_revoke", acme.release), sent).status_code == 403
    assert not Revocation.objects.exists()
    assert MARKUP not in act(manager, "revoke", acme.release, **sent)
    assert Revocation.objects.get().reason == MARKUP
    assert manager.get(to("releases_release_revoke", acme.release)).status_code == 409


def carrying(world: World, version: str = "2.0", *files: bytes) -> Release:
    document = located.carrier(CONTRACT, DATA, version, uri=URI)
    release = making.upload(world.tenant, document, *files).release
    verify_release(release.pk)
    return Release.objects.select_related("pipeline").get(pk=release.pk)


def origins(viewer: Client, release: Release) -> list[str]:
    shown = viewer.get(page_of(release, "artifacts"))
    names = [artifact.origin.name for artifact in shown.context["artifacts"]]
    for name in names:
        assert f'data-origin="{name}"' in shown.text
    return names


def test_the_page_shows_the_profile_and_the_carrier_and_offers_the_descriptor(viewer: Client, acme: World) -> None:
    release = carrying(acme, "2.0", DATA)
    for shown, profile in ((release, "tpf-2026-10"), (acme.release, "tpf-2026-08")):
        text, descriptor = viewer.get(page_of(shown)).text, to("releases_release_descriptor", shown)
        assert [f"<dd data-profile>{profile}</dd>" in text, f'href="{descriptor}"' in text] == [True, True]
        response = viewer.get(descriptor)
        assert making.digest_of(response.content) == shown.descriptor_digest
        assert response["Content-Disposition"] == 'attachment; filename="pipeline-release.json"'


def test_downloads_of_another_tenant_do_not_count(viewer: Client, acme: World, globex: World, settings: Any) -> None:
    with maven_repository() as repository:
        repository.publish(URI, DATA)
        repository.configure(settings)
        theirs = carrying(globex)
    assert (theirs.status, theirs.artifacts.get().resolved) == ("REGISTERED", True)
    assert origins(viewer, carrying(acme, "2.0", DATA)) == ["UPLOADED"]


def signed(world: World, *names: str) -> bytes:
    return signing.envelope(world.release.descriptor, *names)


def attach(client: Client, world: World, *contents: bytes) -> Any:
    files = {"attachment": [SimpleUploadedFile("attached.json", content) for content in contents]}
    return client.post(to("releases_release_attach", world.release), files)


def test_an_administrator_trusts_a_key_and_revokes_it(log_in: LogIn, acme: World) -> None:
    client, new = log_in("tenant-admin"), to("releases_trustedkey_new")
    body = {"tenant": acme.tenant.pk, "name": "ci", "public_key": signing.public_pem()}
    assert client.post(new, {**body, "public_key": "none"}).status_code in {400, 422}
    answer = client.post(new, body)
    key = TrustedKey.objects.get()
    assert answer["Location"] == to("releases_trustedkey_change", key)
    assert (key.tenant, key.key_id, key.added_by) == (acme.tenant, signing.key_id(), "user:tenant-admin-of-acme")
    assert client.post(new, body).status_code == 409
    revoke = to("releases_trustedkey_revoke", key)
    assert client.post(revoke, {"reason": " "}).status_code == 302
    assert rows(KeyRevocation) == []
    shown = client.post(revoke, {"reason": "leaked"}, follow=True)
    assert ["leaked" in shown.text, "data-revoke" in shown.text] == [True, False]
    assert KeyRevocation.objects.get().actor == "user:tenant-admin-of-acme"


def test_a_manager_attaches_and_a_viewer_downloads(log_in: LogIn, manager: Client, acme: World, newer: Release) -> None:
    digest = acme.release.artifacts.get().digest
    sent = [signed(acme), json.dumps(signing.statement(digest)).encode(), json.dumps(signing.spdx()).encode()]
    assert attach(manager, acme, *sent)["Location"].endswith("?tab=trust")
    assert "https://ci.example/builder" in manager.get(page_of(acme.release, "trust")).text
    kept = list(acme.release.attachments.all())
    assert [attachment.attached_by for attachment in kept] == ["user:release-manager"] * 3
    copy = log_in("viewer").get(to("releases_release_attachment", acme.release, kept[1]))
    assert copy.content == sent[1]
    assert copy["Content-Disposition"].startswith("attachment;")
    assert log_in("viewer").get(to("releases_release_attachment", newer, kept[1])).status_code == 404
    for who, status in (("on-call", 403), ("stranger", 404)):
        assert attach(log_in(who), acme, signed(acme, "other")).status_code == status
    assert acme.release.attachments.count() == 3


DOCUMENT = making.descriptor(CONTRACT, DATA, "2.0")
DESCRIPTOR = json.dumps(DOCUMENT).encode()


def file(content: bytes, name: str = "attached.json") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content)


def post(client: Client, descriptor: bytes | None = DESCRIPTOR, artifacts: Sequence[bytes] = (), **more: Any) -> Any:
    body: dict[str, Any] = {"tenant": "acme", "artifacts": [file(data, "app.zip") for data in artifacts]}
    if descriptor is not None:
        body["descriptor"] = file(descriptor, "pipeline-release.json")
    return client.post(to("releases_release_upload"), {**body, **more})


def nothing_left_behind() -> None:
    staging = settings.ARTIFACT_ROOT / "staging"
    assert not staging.exists() or not list(staging.iterdir())


def test_an_upload_becomes_a_release_with_its_bytes_and_attachments_once(manager: Client, acme: World) -> None:
    attached = [file(signing.envelope(DOCUMENT)), file(json.dumps(signing.cyclone()).encode())]
    first = post(manager, artifacts=[DATA], attachment=attached)
    release = Release.objects.get(release_version="2.0")
    assert (first.status_code, first["Location"]) == (302, to("releases_release_change", release))
    assert (release.status, release.uploaded_by) == ("UPLOADED", "user:release-manager")
    assert [attachment.kind for attachment in release.attachments.all()] == ["signature", "sbom"]
    assert Blob.objects.get(digest=making.digest_of(DATA)).size == len(DATA)
    assert post(manager, artifacts=[DATA])["Location"] == first["Location"]
    assert Release.objects.filter(release_version="2.0").count() == 1
    nothing_left_behind()


@cases(
    ("descriptor", "artifacts", "changed", "status", "shown"),
    [
        (
            b'{"schemaVersion": 9, "pipelineId": " ", "artifacts": []}',
            [],
            {},
            400,
            ["DESCRIPTOR_SCHEMA_VERSION_UNSUPPORTED", "DESCRIPTOR_NO_ARTIFACTS"],
        ),
        (json.dumps({**DOCUMENT, "releaseVersion": "1.0"}).encode(), [DATA], {}, 409, ["RELEASE_CONFLICT"]),
        (None, [b"bytes"], {}, 400, ["Choose a release descriptor"]),
        (DESCRIPTOR, [b"x" * 200_000], {"MAX_ARTIFACT_BYTES": 1000}, 413, ["PAYLOAD_TOO_LARGE"]),
    ],
)
def test_a_rejected_upload_says_why_and_leaves_nothing(
    descriptor: bytes | None,
    artifacts: list[bytes],
    changed: dict[str, int],
    status: int,
    shown: list[str],
    manager: Client,
) -> None:
    with override_settings(**changed):
        answer = post(manager, descriptor, artifacts)
    assert answer.status_code == status
    assert [text for text in shown if text not in answer.text] == []
    assert not Release.objects.filter(release_version="2.0").exists()
    nothing_left_behind()


class Untouchable:
    def read(self, *_: object) -> bytes:
        raise AssertionError("the body was read")

    readline = read


def test_only_who_may_register_uploads_and_no_other_body_is_read(log_in: LogIn, manager: Client, globex: World) -> None:
    for who in ("release-manager", "tenant-admin"):
        assert post(log_in(who), artifacts=[DATA], tenant="globex").status_code == 400
    extra: dict[str, Any] = {"wsgi.input": Untouchable(), "CONTENT_LENGTH": "10000000"}
    for who in ("viewer", "operator", "nobody"):
        body = {"content_type": "multipart/form-data; boundary=b", **extra}
        assert log_in(who).generic("POST", to("releases_release_upload"), **body).status_code == 403
    assert not Release.objects.filter(release_version="2.0").exists()
    nothing_left_behind()
    assert "globex" not in manager.get(to("releases_release_upload")).text


BYTES = os.urandom(1000)
DECLARED = {"digest": making.digest_of(BYTES), "size": str(len(BYTES))}


@pytest.fixture
def s3(settings: Any, s3_place: S3Place) -> None:
    use_s3(settings, s3_place)


def direct(*parts: object) -> str:
    return to("releases_release_upload") + "direct/" + "".join(f"{part}/" for part in parts)


def test_a_file_is_uploaded_directly_and_verified(log_in: LogIn, manager: Client, globex: World, s3: None) -> None:
    upload = manager.post(direct("acme"), DECLARED).json()
    there = direct("acme", upload["uploadId"])
    for who, status in (("operator", 403), ("stranger", 404)):
        other = log_in(who)
        for answer in (other.post(direct("acme"), DECLARED), other.get(there), other.post(there)):
            assert answer.status_code in {status, 403}
            assert upload["uploadId"] not in answer.text
    assert [upload.status for upload in ArtifactUpload.objects.all()] == ["OPEN"]
    assert log_in("release-manager", enforce_csrf_checks=True).post(direct("acme"), DECLARED).status_code == 403
    [part] = upload["missing"]
    assert requests.put(part["url"], data=BYTES, timeout=20).status_code == 200
    assert manager.get(there).json()["received"] == len(BYTES)
    assert manager.post(there).json()["status"] == "VERIFYING"
    direct_uploads.finish(upload["uploadId"])
    assert manager.get(there).json()["status"] == "STORED"
    assert ArtifactUpload.objects.get().uploaded_by == "user:release-manager"
    for wrong in ({**DECLARED, "size": "many"}, {**DECLARED, "digest": "x"}):
        answer = manager.post(direct("acme"), wrong)
        assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST")
