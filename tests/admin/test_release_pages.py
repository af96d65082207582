"""The pages of releases and pipelines."""

import json
import re
from collections.abc import Callable
from dataclasses import replace

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from releases.activation.activation import activate
from releases.models import Pipeline, Release, Revocation
from releases.registration.progress import Progress
from releases.registration.registrar import verify_release
from tests import making
from tests.admin.conftest import LogIn, World
from tests.cases import cases
from tests.raw_sql import unguarded
from wire.documents.descriptor import descriptor_from_json
from wire.findings import Finding, Severity

MARKUP = "<img src=x onerror=alert(1)>"


def pending(world: World, version: str = "2.0") -> Release:
    contract = making.contract("acme.orders")
    data = making.archive(contract, code=version)
    return making.upload(world.tenant, making.descriptor(contract, data, version), data).release


def test_the_page_polls_only_until_there_is_a_verdict(log_in: LogIn, acme: World) -> None:
    release = pending(acme)
    client = log_in("viewer")
    page = reverse("admin:releases_release_change", args=[release.pk])
    status = reverse("admin:releases_release_status", args=[release.pk])
    assert f'hx-get="{status}?shown=UPLOADED"' in client.get(page).text
    assert client.get(status, {"shown": "UPLOADED"}).status_code == 204
    verify_release(release.pk)
    moved = client.get(status, {"shown": "UPLOADED"})
    assert moved.status_code == 200
    assert 'data-status="REGISTERED"' in moved.text
    assert "hx-get" not in moved.text
    assert "<html" not in moved.text


def states(client: Client, release: Release) -> list[tuple[str, list[str]]]:
    """Return what the page says about each artifact: its state, and the codes of its findings."""
    page = client.get(reverse("admin:releases_release_change", args=[release.pk]))
    assert all(each["code"] in page.text for row in page.context["artifacts"] for each in row.verification.findings)
    shown = [
        (row.verification.state, [each["code"] for each in row.verification.findings])
        for row in page.context["artifacts"]
    ]
    if "data-verification" in page.text:
        assert re.findall(r'<tr data-state="([a-z]*)"', page.text) == [state for state, _ in shown]
    return shown


def test_the_page_follows_the_verification_of_each_artifact(log_in: LogIn, acme: World) -> None:
    release, client = pending(acme), log_in("viewer")
    status = reverse("admin:releases_release_status", args=[release.pk])
    assert states(client, release) == [("waiting", [])]
    Release.objects.filter(pk=release.pk).update(status="VERIFYING")
    progress, error = Progress(release.pk), Finding("MAVEN_ARTIFACT_MISSING", "artifacts[0].uri", "is nowhere")
    descriptor = descriptor_from_json(release.descriptor)
    steps: list[tuple[Callable[[], None], tuple[str, list[str]]]] = [
        (lambda: None, ("waiting", [])),
        (lambda: progress.fetching(0), ("fetching", [])),
        (lambda: progress.refused(0, error), ("rejected", [error.code])),
        (lambda: progress.checking(descriptor, descriptor.artifacts[0]), ("checking", [])),
        (lambda: progress.checked(0, [replace(error, severity=Severity.WARNING)]), ("verified", [error.code])),
        (lambda: progress.checked(0, [error]), ("rejected", [error.code])),
    ]
    shown = "UPLOADED"
    for step, expected in steps:
        step()
        moved = client.get(status, {"shown": shown})
        assert (moved.status_code, states(client, release)) == (200, [expected])
        assert "hx-get" in moved.text
        shown = moved.context["shown"]
        assert client.get(status, {"shown": shown}).status_code == 204


def test_a_verdict_says_what_is_wrong_with_which_artifact(log_in: LogIn, acme: World) -> None:
    contract, client = making.contract("acme.orders"), log_in("viewer")
    data, other = making.archive(contract, code="2.0"), making.archive(making.contract("acme.other"))
    document = making.descriptor(contract, data, "2.0")
    [app] = document["artifacts"]
    document["artifacts"] += [{**app, "artifactId": "other", "digest": making.digest_of(other)}]
    rejected = making.rejected(acme.tenant, document, data, other)
    assert [state for state, _ in states(client, rejected)] == ["verified", "rejected"]
    assert states(client, rejected)[1][1] == [finding["code"] for finding in rejected.findings]
    assert (
        "Upload again"
        in log_in("release-manager").get(reverse("admin:releases_release_change", args=[rejected.pk])).text
    )
    assert states(client, making.registered(acme.tenant, "3.0", pipeline_id="acme.orders")) == [("verified", [])]


def test_a_release_without_recorded_progress_claims_nothing(log_in: LogIn, acme: World) -> None:
    """Releases of earlier versions have none, and neither do artifacts after one that exceeded its limits."""
    with unguarded(Release):
        Release.objects.filter(pk=acme.release.pk).update(progress={}, status="REJECTED")
    assert states(log_in("viewer"), acme.release) == [("", [])]


def test_a_rejected_release_shows_its_findings_and_no_activation_button(log_in: LogIn, acme: World) -> None:
    contract = making.contract("acme.orders")
    data = making.archive(contract)
    release = making.upload(acme.tenant, making.descriptor(contract, data, "2.0"), b"not the artifact").release
    verify_release(release.pk)
    text = log_in("release-manager").get(reverse("admin:releases_release_change", args=[release.pk])).text
    release.refresh_from_db()
    assert len(release.findings) == 2
    for finding in release.findings:
        assert finding["code"] in text
    assert "REJECTED" in text
    assert reverse("admin:releases_release_activate", args=[release.pk]) not in text


def test_the_page_shows_the_environment_that_the_artifact_requires(log_in: LogIn, acme: World) -> None:
    contract = making.contract("acme.orders")
    python = {"implementation": "cpython", "version": "3.12.1", "platform": "linux-x86_64"}
    entries = {
        "META-INF/pipeline/python.json": json.dumps(python),
        "META-INF/pipeline/requirements.lock": "attrs==25.1.0\nmine @ https://user:secret@example.org/mine.whl\n",
    }
    data = making.archive(contract, **entries)
    release = making.verified(making.upload(acme.tenant, making.descriptor(contract, data, "2.0"), data).release)
    client = log_in("viewer")
    text = client.get(reverse("admin:releases_release_change", args=[release.pk])).text
    for shown in ("cpython 3.12.1", "linux-x86_64", "2 locked distributions", "attrs 25.1.0", "mine (from a URL)"):
        assert shown in text
    assert "secret" not in text
    other = client.get(reverse("admin:releases_release_change", args=[acme.release.pk])).text
    assert "data-required-environment" not in other


def test_the_page_lists_the_workers_of_the_release_with_their_drift(log_in: LogIn, acme: World) -> None:
    making.worker(acme.release, "gone", stopped_at=timezone.now())
    making.worker(making.active(acme.tenant, "2.0", pipeline_id="acme.orders"), "of-another-release")
    differences = [f"{MARKUP} {number} is not installed" for number in range(7)]
    environment = {"python": "", "platform": "", "differences": differences, "differenceCount": 60}
    making.worker(acme.release, "drifted", code="artifact", environment=environment)
    making.worker(acme.release, "folder", code="source")
    text = log_in("viewer").get(reverse("admin:releases_release_change", args=[acme.release.pk])).text
    for shown in (
        "drifted",
        "and 55 more",
        "4 is not installed",
        "unverified: a folder",
        "the pipeline&#x27;s policy refuses",
    ):
        assert shown in text
    for hidden in (MARKUP, "5 is not installed", ">gone<", "of-another-release"):
        assert hidden not in text


def test_the_page_says_so_if_no_worker_hosts_the_release(log_in: LogIn, acme: World) -> None:
    newer = making.registered(acme.tenant, "2.0", pipeline_id="acme.orders")
    text = log_in("viewer").get(reverse("admin:releases_release_change", args=[newer.pk])).text
    assert "No worker hosts this release." in text


def test_the_number_of_queries_of_the_page_is_independent_of_the_number_of_workers(log_in: LogIn, acme: World) -> None:
    client, address = log_in("viewer"), reverse("admin:releases_release_change", args=[acme.release.pk])

    def query_count() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(address).status_code == 200
        return len(queries)

    before = query_count()
    for number in range(60):
        making.worker(acme.release, f"more-{number}")
    assert query_count() == before
    assert "Only 50 workers are shown" in client.get(address).text


@cases(("who", "shown"), [("viewer", False), ("operator", False), ("release-manager", True)])
def test_the_buttons_are_displayed_to_users_who_may_use_them(who: str, shown: bool, log_in: LogIn, acme: World) -> None:
    newer = making.registered(acme.tenant, "2.0", pipeline_id="acme.orders")
    client = log_in(who)
    activate = reverse("admin:releases_release_activate", args=[newer.pk])
    upload = reverse("admin:releases_release_upload")
    assert (activate in client.get(reverse("admin:releases_release_change", args=[newer.pk])).text) == shown
    assert (activate in client.get(reverse("admin:releases_pipeline_change", args=[newer.pipeline_id])).text) == shown
    assert (upload in client.get(reverse("admin:releases_release_changelist")).text) == shown


def test_the_active_release_is_marked(log_in: LogIn, acme: World) -> None:
    newer = making.registered(acme.tenant, "2.0", pipeline_id="acme.orders")
    client = log_in("viewer")
    active = client.get(reverse("admin:releases_release_change", args=[acme.release.pk])).text
    ready = client.get(reverse("admin:releases_release_change", args=[newer.pk])).text
    assert "are pinned to this release" in active
    assert "New executions still run <strong>1.0</strong>" in ready


@cases(("who", "status"), [("tenant-admin", 302), ("release-manager", 403), ("stranger", 404)])
def test_only_tenant_admins_may_change_the_policy(who: str, status: int, log_in: LogIn, acme: World) -> None:
    address = reverse("admin:releases_pipeline_policy", args=[acme.release.pipeline_id])
    assert log_in(who).post(address, {"reason_required": "on"}).status_code == status
    assert Pipeline.objects.get(pk=acme.release.pipeline_id).reason_required == (status == 302)
    assert log_in("tenant-admin").get(address).status_code == 405


def test_the_history_of_a_pipeline_is_paged_newest_first(log_in: LogIn, acme: World) -> None:
    for number in range(30):
        activate(acme.release, actor="user:test", reason=f"reason-{number:02}")
    address = reverse("admin:releases_pipeline_change", args=[acme.release.pipeline_id])
    first, second = log_in("viewer").get(address), log_in("viewer").get(address, {"page": 2})
    assert [each.sequence for each in first.context["history"]] == list(range(31, 6, -1))
    assert [each.sequence for each in second.context["history"]] == list(range(6, 0, -1))


def test_untrusted_text_is_never_markup(log_in: LogIn, acme: World) -> None:
    release = making.active(acme.tenant, MARKUP, pipeline_id=MARKUP, steps=[{**making.STEP, "authoredName": MARKUP}])
    making.worker(release, MARKUP)
    execution = making.execution(acme.tenant, MARKUP, {"n": MARKUP}, pipeline_id=MARKUP)
    worker = execution.release.pipeline.tenant.workers.get(worker_id=MARKUP)
    client = log_in("superuser")
    addresses = [
        reverse("admin:index"),
        *(reverse(f"admin:{model}_changelist") for model in ("releases_release", "releases_pipeline")),
        *(reverse(f"admin:{model}_changelist") for model in ("executions_execution", "executions_worker")),
        reverse("admin:releases_release_change", args=[release.pk]),
        reverse("admin:releases_release_activate", args=[release.pk]),
        reverse("admin:releases_pipeline_change", args=[release.pipeline_id]),
        reverse("admin:executions_execution_change", args=[execution.pk]),
        reverse("admin:executions_worker_change", args=[worker.pk]),
    ]
    for address in addresses:
        text = client.get(address).text
        assert MARKUP not in text, address
        assert "&lt;img src=x" in text, address


def test_only_users_who_may_activate_can_revoke_a_release_on_its_page(log_in: LogIn, acme: World) -> None:
    page = reverse("admin:releases_release_change", args=[acme.release.pk])
    address = reverse("admin:releases_release_revoke", args=[acme.release.pk])
    viewer = log_in("viewer")
    assert "data-revoke" not in viewer.get(page).text
    assert viewer.post(address, {"reason": "x"}).status_code == 403
    assert not Revocation.objects.exists()

    manager = log_in("release-manager")
    assert "data-revoke" in manager.get(page).text
    assert manager.get(address).status_code == 405
    assert "A reason is required" in manager.post(address, {"reason": " "}, follow=True).text
    assert not Revocation.objects.exists()
    shown = manager.post(address, {"reason": MARKUP}, follow=True).text
    assert "is revoked and can never be activated again" in shown
    assert MARKUP not in shown
    assert "data-revoke" not in shown
    assert Revocation.objects.get().reason == MARKUP
    stranger = log_in("stranger")
    assert stranger.post(address, {"reason": "x"}).status_code == 404
